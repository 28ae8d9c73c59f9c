{{/* The service's settings: what comes from which value, and where each pod finds it. */}}

{{/* Numbers in values are floats to Helm, which would write 1048576 as 1.048576e+06. */}}
{{- define "tradepost.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- . | int64 -}}
{{- else if not (kindIs "invalid" .) -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* What is no secret and the same in every pod, as YAML. */}}
{{- define "tradepost.settings" -}}
{{- $settings := dict
      "ENVIRONMENT" .Values.environment
      "PORT" "8000"
      "METRICS_PORT" "9090"
      "SECRETS_DIR" "/etc/tradepost/secrets"
      "DATA_DIR" "/tmp/tradepost"
      "DATABASE_POOL_SIZE" (include "tradepost.text" .Values.database.poolSize)
      "DATABASE_MAX_OVERFLOW" (include "tradepost.text" .Values.database.maxOverflow)
      "READINESS_DATABASE" .Values.database.readiness -}}
{{- if kindIs "slice" .Values.trustedProxies -}}
{{- with .Values.trustedProxies -}}
{{- $_ := set $settings "TRUSTED_PROXIES" (join "," .) -}}
{{- end -}}
{{- end -}}
{{- $service := .Values.api.service -}}
{{- if or (has "IPv6" ($service.ipFamilies | default list)) (hasSuffix "DualStack" ($service.ipFamilyPolicy | default "")) -}}
{{- /* Which takes IPv4 too. */ -}}
{{- $_ := set $settings "HOST" "::" -}}
{{- end -}}
{{- with .Values.database.pooler -}}
{{- if .address -}}
{{- $_ := set $settings "DATABASE_POOLER" .address -}}
{{- $_ := set $settings "DATABASE_POOLER_PREPARES" (toString .preparedStatements) -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $settings $name (include "tradepost.text" $value) -}}
{{- end -}}
{{- with $settings.ALLOWED_HOSTS -}}
{{- /* The cluster's own ways to the Service, which the smoke test takes. */ -}}
{{- $service := printf "%s.%s" (include "tradepost.fullname" $) $.Release.Namespace -}}
{{- $own := list (include "tradepost.fullname" $) $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) -}}
{{- $_ := set $settings "ALLOWED_HOSTS" (join "," (prepend $own .)) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/*
The one list of secrets: the value of each, and the pods that need it, which alone get it. Those that are `needed` must
be in a Secret before its pods start; a `variable` is read from the environment alone, by the SDK. Addresses of services
are among them, for they may hold a key.
*/}}
{{- define "tradepost.secretList" -}}
SECRET_KEY: {value: secretKey, of: [api, worker, check-config], needed: true}
SECRET_KEYS_ACCEPTED: {value: secretKeysAccepted, of: [api, worker, check-config]}
DATABASE_URL: {value: databaseUrl, of: [api, worker, migration, verify, create-admin, import, check-config], needed: true}
DATABASE_DIRECT_URL: {value: databaseDirectUrl, of: [api, worker, migration, verify, create-admin, import, check-config]}
REDIS_URL: {value: redisUrl, of: [api, check-config]}
SMTP_URL: {value: smtpUrl, of: [worker, check-config]}
ADMIN_EMAIL: {value: adminEmail, of: [migration, smoke-test]}
ADMIN_PASSWORD: {value: adminPassword, of: [migration, smoke-test]}
WEATHER_URL: {value: weatherUrl, of: [api, check-config]}
WEATHER_GEOCODING_URL: {value: weatherGeocodingUrl, of: [api, check-config]}
OTEL_EXPORTER_OTLP_ENDPOINT: {value: otlpEndpoint, of: [api, worker, check-config]}
OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: {value: otlpTracesEndpoint, of: [api, worker, check-config]}
OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: {value: otlpLogsEndpoint, of: [api, worker, check-config]}
OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: {value: otlpMetricsEndpoint, of: [api, worker, check-config]}
OTEL_EXPORTER_OTLP_HEADERS: {value: otlpHeaders, of: [api, worker], variable: true}
{{- end -}}

{{/* The secrets among the values, encoded, as YAML: {root, of: a component, or all}. */}}
{{- define "tradepost.secrets" -}}
{{- $set := dict -}}
{{- range $name, $secret := include "tradepost.secretList" . | fromYaml -}}
{{- $value := get $.root.Values.secrets $secret.value -}}
{{- if and $value (or (not $.of) (has $.of $secret.of)) -}}
{{- $_ := set $set $name (b64enc $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $set -}}
{{- end -}}

{{/*
What a component finds of a Secret as files, and nothing else of it: {secret: its name, component, sources: of other
Secrets, in YAML}
*/}}
{{- define "tradepost.secretSources" -}}
{{- range $needed := list true false -}}
{{- $items := list -}}
{{- range $name, $secret := include "tradepost.secretList" $ | fromYaml -}}
{{- if and (has $.component $secret.of) (not $secret.variable) (eq $needed (default false $secret.needed)) -}}
{{- $items = append $items (dict "key" $name "path" $name) -}}
{{- end -}}
{{- end }}
- secret:
    name: {{ $.secret | quote }}
    {{- if not $needed }}
    optional: true
    {{- end }}
    items: {{ toYaml $items | nindent 6 }}
{{- end -}}
{{- with .sources }}
{{ . | trim }}
{{- end -}}
{{- end -}}

{{/* Whether the chart makes the Secret itself. */}}
{{- define "tradepost.ownSecret" -}}
{{- if not (or .Values.existingSecret .Values.externalSecret.enabled) }}true{{ end -}}
{{- end -}}

{{- define "tradepost.secretName" -}}
{{- .Values.existingSecret | default (include "tradepost.fullname" .) -}}
{{- end -}}

{{- define "tradepost.migrations.secretName" -}}
{{- if include "tradepost.migrations.isHook" . -}}
{{- .Values.existingSecret | default (include "tradepost.migrations.name" .) -}}
{{- else -}}
{{- include "tradepost.secretName" . -}}
{{- end -}}
{{- end -}}

{{/* What an ExternalSecret asks for: {root, target}. */}}
{{- define "tradepost.externalSecret" -}}
{{- with .root.Values.externalSecret }}
refreshInterval: {{ .refreshInterval }}
secretStoreRef: {{ toYaml .storeRef | nindent 2 }}
target:
  name: {{ $.target | quote }}
  creationPolicy: Owner
{{- with .data }}
data: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .dataFrom }}
dataFrom: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A changed setting or secret rolls the pods. A Secret that is not the chart's is looked at where there is a cluster. */}}
{{- define "tradepost.checksums" -}}
checksum/config: {{ include "tradepost.settings" . | sha256sum }}
{{- if include "tradepost.ownSecret" . }}
checksum/secret: {{ include "tradepost.secrets" (dict "root" .) | sha256sum }}
{{- else }}
checksum/secret: {{ dig "data" dict (lookup "v1" "Secret" .Release.Namespace (include "tradepost.secretName" .)) | toJson | sha256sum }}
{{- end }}
{{- end -}}
