{{/* What the values bring along, and the chart as a part of another. */}}

{{/* A dependency that its parent switches off is not rendered at all, so this is for those that cannot be switched off. */}}
{{- define "tradepost.checkEnabled" -}}
{{- if eq (toString .Values.enabled) "false" -}}
{{- fail (printf "enabled is false, which switches nothing off here: it is for a chart that has this one as a dependency with `condition: %s.enabled` in its Chart.yaml." .Chart.Name) -}}
{{- end -}}
{{- end -}}

{{- define "tradepost.checkService" -}}
{{- with .Values.api.service -}}
{{- range $name := list "loadBalancerClass" "loadBalancerSourceRanges" -}}
{{- if and (get $.Values.api.service $name) (ne $.Values.api.service.type "LoadBalancer") -}}
{{- fail (printf "api.service.%s is for the type LoadBalancer." $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (len (.ipFamilies | default list)) 2) (not (hasSuffix "DualStack" (.ipFamilyPolicy | default ""))) -}}
{{- fail "api.service.ipFamilies has two, which needs api.service.ipFamilyPolicy PreferDualStack or RequireDualStack." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Objects of the values, whose text is a template: {root, of: their name in messages, given}. The chart's common labels and
annotations are on them too, where they have none of that name.
*/}}
{{- define "tradepost.extraObjects" -}}
{{- $text := .given -}}
{{- if not (kindIs "string" $text) -}}
{{- $text = toYaml $text -}}
{{- end -}}
{{- range regexSplit `(?m)^---\s*$` (tpl $text .root) -1 -}}
{{- if trim . }}
---
{{ include "tradepost.extraObject" (dict "root" $.root "of" $.of "object" (fromYaml .)) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tradepost.extraObject" -}}
{{- $object := .object -}}
{{- if not (and $object.apiVersion $object.kind (dig "name" "" ($object.metadata | default dict))) -}}
{{- fail (printf "%s is no object of Kubernetes: it needs apiVersion, kind and metadata.name. %s" .of ($object.Error | default "")) -}}
{{- end -}}
{{- include "tradepost.checkPlainText" (dict "root" .root "of" (printf "%s (%s %s)" .of $object.kind $object.metadata.name) "object" $object) -}}
{{- range $key, $common := dict "labels" .root.Values.commonLabels "annotations" .root.Values.commonAnnotations -}}
{{- with include "tradepost.merged" (list $common (get $object.metadata $key | default dict)) | fromYaml -}}
{{- $_ := set $object.metadata $key . -}}
{{- end -}}
{{- end -}}
{{- toYaml $object -}}
{{- end -}}

{{/* Of the values of `secrets`, none but the administrator's address may stand where users who may not read Secrets can. */}}
{{- define "tradepost.checkPlainText" -}}
{{- if ne .object.kind "Secret" -}}
{{- $text := toJson .object -}}
{{- range $name, $value := omit .root.Values.secrets "adminEmail" -}}
{{- if and $value (contains (toJson $value | trimAll "\"") $text) -}}
{{- fail (printf "%s has secrets.%s as plain text: it may stand in a Secret alone." $.of $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
