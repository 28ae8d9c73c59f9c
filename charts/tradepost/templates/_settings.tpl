{{/* The service's settings: what comes from which value, and where each pod finds it. */}}

{{/* Numbers in values are floats to Helm, which would write 1048576 as 1.048576e+06. */}}
{{- define "tradepost.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- . | int64 -}}
{{- else -}}
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
{{- with .Values.trustedProxies -}}
{{- $_ := set $settings "TRUSTED_PROXIES" (join "," .) -}}
{{- end -}}
{{- range $name, $value := .Values.config -}}
{{- $_ := set $settings $name (include "tradepost.text" $value) -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* The secrets among the values, encoded, as YAML. */}}
{{- define "tradepost.secrets" -}}
{{- $secrets := dict
      "SECRET_KEY" .Values.secrets.secretKey
      "SECRET_KEYS_ACCEPTED" .Values.secrets.secretKeysAccepted
      "DATABASE_URL" .Values.secrets.databaseUrl
      "DATABASE_DIRECT_URL" .Values.secrets.databaseDirectUrl
      "REDIS_URL" .Values.secrets.redisUrl
      "SMTP_URL" .Values.secrets.smtpUrl
      "ADMIN_EMAIL" .Values.secrets.adminEmail
      "ADMIN_PASSWORD" .Values.secrets.adminPassword
      "OTEL_EXPORTER_OTLP_HEADERS" .Values.secrets.otlpHeaders -}}
{{- $set := dict -}}
{{- range $name, $value := $secrets -}}
{{- if $value -}}
{{- $_ := set $set $name (b64enc $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $set -}}
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
checksum/secret: {{ include "tradepost.secrets" . | sha256sum }}
{{- else }}
checksum/secret: {{ dig "data" dict (lookup "v1" "Secret" .Release.Namespace (include "tradepost.secretName" .)) | toJson | sha256sum }}
{{- end }}
{{- end -}}
