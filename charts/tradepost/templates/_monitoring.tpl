{{/* {root, enabled: true, false or auto} */}}
{{- define "tradepost.monitoring" -}}
{{- if .root.Values.monitoring.enabled -}}
{{- if eq (toString .enabled) "auto" -}}
{{- if .root.Capabilities.APIVersions.Has "monitoring.coreos.com/v1" }}true{{ end -}}
{{- else if .enabled -}}
true
{{- end -}}
{{- end -}}
{{- end -}}

{{/* API and workers are one job, called after the release: rules and dashboard look for it. */}}
{{- define "tradepost.endpoint" -}}
port: metrics
interval: {{ .Values.monitoring.scrape.interval }}
scrapeTimeout: {{ .Values.monitoring.scrape.timeout }}
relabelings:
  - {action: replace, targetLabel: job, replacement: {{ include "tradepost.fullname" . }}}
{{- end -}}

{{/* Rules and dashboard are text with places to fill in, not templates: their braces are not Helm's. */}}
{{- define "tradepost.filled" -}}
{{- $fullname := include "tradepost.fullname" .root -}}
{{- .root.Files.Get .file
    | replace "of=\"@@RELEASE@@\"" (printf "namespace=%q, job=%q" .root.Release.Namespace $fullname)
    | replace "@@NAMESPACE@@" .root.Release.Namespace
    | replace "@@FULLNAME@@" $fullname
    | replace "@@RUNBOOKS@@" (trimSuffix "/" .root.Values.monitoring.runbooks) -}}
{{- end -}}
