{{/* The rules of egress, one by one. */}}

{{/* {to, ports, protocols} as one rule. No `to` is anywhere. */}}
{{- define "tradepost.egressRule" -}}
- ports:
  {{- range $port := .ports }}
  {{- range $protocol := $.protocols | default (list "TCP") }}
    - {port: {{ $port | int }}, protocol: {{ $protocol }}}
  {{- end }}
  {{- end }}
  {{- with .to }}
  to: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "tradepost.egressToDns" -}}
{{- with .Values.networkPolicy.egress.dns -}}
{{- if .enabled }}
{{ include "tradepost.egressRule" (dict "to" .to "ports" .ports "protocols" (list "UDP" "TCP")) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* {root, to: the name of the value, seen: whether the chart sees a need for it} */}}
{{- define "tradepost.egressTo" -}}
{{- $rule := get .root.Values.networkPolicy.egress .to -}}
{{- $enabled := $rule.enabled -}}
{{- if eq (toString $enabled) "auto" -}}
{{- $enabled = .seen -}}
{{- end -}}
{{- if $enabled }}
{{ include "tradepost.egressRule" (dict "to" $rule.to "ports" $rule.ports) }}
{{- end }}
{{- end -}}

{{- define "tradepost.egressToRedis" -}}
{{- $seen := or .Values.secrets.redisUrl (not (include "tradepost.ownSecret" .)) -}}
{{- include "tradepost.egressTo" (dict "root" . "to" "redis" "seen" $seen) -}}
{{- end -}}

{{- define "tradepost.egressToSmtp" -}}
{{- $seen := or .Values.secrets.smtpUrl (not (include "tradepost.ownSecret" .)) -}}
{{- include "tradepost.egressTo" (dict "root" . "to" "smtp" "seen" $seen) -}}
{{- end -}}

{{- define "tradepost.egressToOtlp" -}}
{{- $config := .Values.config | default dict -}}
{{- $seen := false -}}
{{- range $name, $secret := include "tradepost.secretList" . | fromYaml -}}
{{- if and (hasPrefix "OTEL_EXPORTER_OTLP_" $name) (hasSuffix "ENDPOINT" $name) -}}
{{- $seen = or $seen (get $config $name) (get $.Values.secrets $secret.value) -}}
{{- end -}}
{{- end -}}
{{- include "tradepost.egressTo" (dict "root" . "to" "otlp" "seen" $seen) -}}
{{- end -}}

{{- define "tradepost.egressToInternet" -}}
{{- with .Values.networkPolicy.egress.internet -}}
{{- if .enabled }}
{{- $ipv4 := dict "ipBlock" (dict "cidr" "0.0.0.0/0" "except" .except) }}
{{- $ipv6 := dict "ipBlock" (dict "cidr" "::/0" "except" .exceptIPv6) }}
{{ include "tradepost.egressRule" (dict "to" (list $ipv4 $ipv6) "ports" .ports) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Rules of ingress. Kubelets reach their pods whatever a policy says. */}}
{{- define "tradepost.ingressOfMetrics" -}}
- ports:
    - {port: 9090, protocol: TCP}
  {{- with .Values.networkPolicy.ingress.metrics }}
  from: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Of each Service. */}}
{{- define "tradepost.ipFamilies" -}}
{{- with .Values.api.service.ipFamilyPolicy -}}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.api.service.ipFamilies }}
ipFamilies: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What an ingress or a gateway lets in. */}}
{{- define "tradepost.publicPaths" -}}
{{- $paths := .Values.publicPaths -}}
{{- if eq (toString (get (.Values.config | default dict) "DOCS_ENABLED")) "true" -}}
{{- range list "/docs" "/redoc" "/openapi.json" -}}
{{- $paths = append $paths (dict "path" . "pathType" "Prefix") -}}
{{- end -}}
{{- end -}}
{{- toYaml $paths -}}
{{- end -}}
