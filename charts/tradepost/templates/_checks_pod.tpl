{{/* What a pod's values cannot be together: the API server would refuse it, or Helm 4, when it is applied. */}}

{{- define "tradepost.checkPod" -}}
{{- $values := .values -}}
{{- $extra := concat ($values.initContainers | default list) ($values.extraContainers | default list) -}}
{{- $volumes := include "tradepost.volumes" . | fromYamlArray -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "container" "key" "name" "list" (concat (list (dict "name" .name)) (.initContainers | default "[]" | fromYamlArray) $extra)) -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "volume" "key" "name" "list" $volumes) -}}
{{- include "tradepost.checkMounts" (dict "of" .of "mounts" (include "tradepost.volumeMounts" . | fromYamlArray) "volumes" $volumes) -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "hostAliases of" "key" "ip" "list" $values.hostAliases) -}}
{{- if and (eq (toString $values.dnsPolicy) "None") (not (dig "nameservers" list ($values.dnsConfig | default dict))) -}}
{{- fail (printf "%s.dnsPolicy is None, which needs %s.dnsConfig.nameservers." .of .of) -}}
{{- end -}}
{{- include "tradepost.checkWords" (dict "of" .of "container" (pick $values "command" "args" "lifecycle")) -}}
{{- range $extra -}}
{{- include "tradepost.checkContainer" (dict "of" (printf "%s: container %s" $.of .name) "container" . "volumes" $volumes) -}}
{{- end -}}
{{- end -}}

{{/* {of, container: one of the values, volumes: of its pod} */}}
{{- define "tradepost.checkContainer" -}}
{{- with .container -}}
{{- include "tradepost.checkTwice" (dict "of" $.of "what" "variable" "key" "name" "list" .env) -}}
{{- range .env -}}
{{- include "tradepost.checkVariable" (dict "of" $.of "variable" .) -}}
{{- end -}}
{{- include "tradepost.checkWords" $ -}}
{{- include "tradepost.checkMounts" (dict "of" $.of "mounts" .volumeMounts "volumes" $.volumes) -}}
{{- end -}}
{{- end -}}

{{/* Of a container's arguments, and of the commands that its hooks run: {of, container} */}}
{{- define "tradepost.checkWords" -}}
{{- range $hook, $handler := .container.lifecycle | default dict -}}
{{- include "tradepost.checkWords" (dict "of" (printf "%s: %s" $.of $hook) "container" (get ($handler | default dict) "exec" | default dict)) -}}
{{- end -}}
{{- range concat (.container.command | default list) (.container.args | default list) -}}
{{- if regexMatch `://[^\s/@]*:[^\s/@]+@` (toString .) -}}
{{- fail (printf "%s has a URL with a password among its arguments, which every user who may see pods can read: give it by a variable, with valueFrom.secretKeyRef." $.of) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* {of, mounts, volumes} */}}
{{- define "tradepost.checkMounts" -}}
{{- include "tradepost.checkTwice" (dict "of" .of "what" "mount" "key" "mountPath" "list" .mounts) -}}
{{- $names := list -}}
{{- range .volumes -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .mounts -}}
{{- if not (has .name $names) -}}
{{- fail (printf "%s: mount %s is of the volume %s, which this pod has not." $.of .mountPath .name) -}}
{{- end -}}
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
