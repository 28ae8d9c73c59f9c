{{/* What a pod's values cannot be together: the API server would refuse it, or Helm 4, when it is applied. */}}

{{- define "tradepost.checkPod" -}}
{{- $values := .values -}}
{{- $extra := concat (list) ($values.initContainers | default list) ($values.extraContainers | default list) -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "container" "key" "name" "list" (prepend $extra (dict "name" .name))) -}}
{{- range $extra -}}
{{- $of := printf "%s: container %s" $.of .name -}}
{{- include "tradepost.checkTwice" (dict "of" $of "what" "variable" "key" "name" "list" .env) -}}
{{- range .env -}}
{{- include "tradepost.checkVariable" (dict "of" $of "variable" .) -}}
{{- end -}}
{{- end -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "volume" "key" "name" "list" (include "tradepost.volumes" . | fromYamlArray)) -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "mount" "key" "mountPath" "list" (include "tradepost.volumeMounts" . | fromYamlArray)) -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "hostAliases of" "key" "ip" "list" $values.hostAliases) -}}
{{- if and (eq (toString $values.dnsPolicy) "None") (not (dig "nameservers" list ($values.dnsConfig | default dict))) -}}
{{- fail (printf "%s.dnsPolicy is None, which needs %s.dnsConfig.nameservers." .of .of) -}}
{{- end -}}
{{- end -}}

{{/* {of, what, key, list}: server-side apply knows the objects of a list by a key, and refuses one that is there twice. */}}
{{- define "tradepost.checkTwice" -}}
{{- $found := list -}}
{{- range .list -}}
{{- $key := get . $.key -}}
{{- if has $key $found -}}
{{- fail (printf "%s: %s %s is there twice." $.of $.what $key) -}}
{{- end -}}
{{- $found = append $found $key -}}
{{- end -}}
{{- end -}}
