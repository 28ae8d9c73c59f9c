{{/* Names and labels. A full name has at most 40 characters: suffixes follow, and it is the dashboard's uid. */}}

{{- define "tradepost.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
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

{{/* Of an object: {root, component}. */}}
{{- define "tradepost.labels" -}}
{{ include "tradepost.selector" . }}
app.kubernetes.io/part-of: tradepost
app.kubernetes.io/version: {{ .root.Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of pods: those of the chart's version would roll them for nothing. {root, component, values} */}}
{{- define "tradepost.podLabels" -}}
{{ include "tradepost.selector" . }}
app.kubernetes.io/part-of: tradepost
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- with .values.podLabels }}
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

{{/* What the Job stands on comes before it, and goes when it has succeeded. `weight` is the order. */}}
{{- define "tradepost.migrations.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-weight: {{ .weight | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}
