{{/* Names and labels. A full name has at most 40 characters: suffixes follow, and it is the dashboard's uid. */}}

{{/* In a chart that has this one under an alias, the alias is its name. */}}
{{- define "tradepost.name" -}}
{{- .Values.nameOverride | default (.Chart.Name | lower | replace "_" "-") | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* The release's name may have dots and begin with a digit; a Service's may not. */}}
{{- define "tradepost.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = .Release.Name | replace "." "-" -}}
{{- if not (contains (include "tradepost.name" .) $name) -}}
{{- $name = printf "%s-%s" $name (include "tradepost.name" .) -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "r%s" $name -}}
{{- end -}}
{{- end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/*
What never changes in a release's life: Deployments cannot change their selectors. Names are quoted wherever they may be
nothing but digits, which would be numbers.
*/}}
{{- define "tradepost.selector" -}}
app.kubernetes.io/name: {{ include "tradepost.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" | trimSuffix "." | quote }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/* Of an object: {root, component, labels: values of its own}. */}}
{{- define "tradepost.labels" -}}
{{ include "tradepost.selector" . }}
app.kubernetes.io/part-of: tradepost
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- include "tradepost.merged" (list .root.Values.commonLabels .labels) }}
{{- end -}}

{{/*
An object's metadata: {root, component}, and where it has any: suffix, of its name, or name; labels and annotations, which
are values; own, annotations of the chart's in YAML, which no value replaces.
*/}}
{{- define "tradepost.metadata" -}}
name: {{ .name | default (printf "%s%s" (include "tradepost.fullname" .root) (.suffix | default "")) | quote }}
namespace: {{ .root.Release.Namespace | quote }}
labels: {{ include "tradepost.labels" . | nindent 2 }}
{{- with include "tradepost.merged" (list .root.Values.commonAnnotations .annotations (.own | default "" | fromYaml)) | trim }}
annotations: {{ . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of pods: those of the chart's version would roll them for nothing. {root, component, values} */}}
{{- define "tradepost.podLabels" -}}
{{ include "tradepost.selector" . }}
app.kubernetes.io/part-of: tradepost
{{- include "tradepost.merged" (list .root.Values.commonLabels .values.podLabels) }}
{{- end -}}

{{/* Maps as one, the last has the say: a key twice would be no YAML. */}}
{{- define "tradepost.merged" -}}
{{- $merged := dict }}
{{- range $given := . }}
{{- range $key, $value := $given }}
{{- $_ := set $merged $key $value }}
{{- end }}
{{- end }}
{{- with $merged }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tradepost.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "tradepost.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* A hook runs before the chart's own objects are there, so it brings what it needs. */}}
{{- define "tradepost.migrations.isHook" -}}
{{- if eq .Values.migrations.mode "hook" }}true{{ end -}}
{{- end -}}

{{- define "tradepost.migrations.name" -}}
{{- printf "%s-migrate" (include "tradepost.fullname" .) -}}
{{- end -}}

{{/*
Annotations of a hook, where it is one: what the Job stands on comes before it, and goes when it has succeeded.
{root, weight: its place in the order}
*/}}
{{- define "tradepost.migrations.hook" -}}
{{- if include "tradepost.migrations.isHook" .root -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
{{- end -}}
