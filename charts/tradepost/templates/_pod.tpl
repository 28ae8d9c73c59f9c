{{/* What all pods have in common. Each takes {root, values, component}, or what it says. */}}

{{- define "tradepost.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (include "tradepost.text" $image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "tradepost.pod" -}}
automountServiceAccountToken: false
{{- /* A Service called tradepost would otherwise set TRADEPOST_PORT=tcp://... */}}
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Constraints without a selector of their own are about this component's pods of the same revision. */}}
{{- define "tradepost.spread" -}}
{{- $given := . -}}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
{{- range . }}
{{- $own := dict "labelSelector" (dict "matchLabels" (include "tradepost.selector" $given | fromYaml)) "matchLabelKeys" (list "pod-template-hash") }}
{{- if hasKey . "labelSelector" }}{{ $own = dict }}{{ end }}
  - {{ toYaml (merge (deepCopy .) $own) | nindent 4 | trim }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "tradepost.container" -}}
image: {{ include "tradepost.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{ toYaml .root.Values.containerSecurityContext | nindent 2 }}
resources: {{ toYaml .values.resources | nindent 2 }}
{{- end -}}

{{/* {settings: name to text, extra: a list of variables}: a name twice is refused by Helm 4's server-side apply. */}}
{{- define "tradepost.env" -}}
{{- $names := append (keys .settings) "OTEL_EXPORTER_OTLP_HEADERS" -}}
{{- range $name := keys .settings | sortAlpha }}
- name: {{ $name }}
  value: {{ get $.settings $name | toString | quote }}
{{- end }}
{{- range .extra }}
{{- if has .name $names }}
{{- fail (printf "%s: extraEnv has %s, which the chart sets already or which is there twice. Other values of the chart decide it." $.of .name) }}
{{- end }}
{{- include "tradepost.checkVariable" (dict "of" $.of "variable" .) }}
{{- $names = append $names .name }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end -}}

{{/* The SDK reads this one from the environment only. */}}
{{- define "tradepost.otlpHeaders" -}}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ include "tradepost.secretName" . | quote }}, key: OTEL_EXPORTER_OTLP_HEADERS, optional: true}
{{- end -}}

{{/* {values, secret: its name, component} */}}
{{- define "tradepost.volumes" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources: {{ include "tradepost.secretSources" . | nindent 6 }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tradepost.volumeMounts" -}}
- {name: secrets, mountPath: /etc/tradepost/secrets, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tradepost.probes" -}}
startupProbe:
  httpGet: {path: /startupz, port: http}
  periodSeconds: 1
  failureThreshold: 60
  timeoutSeconds: 2
{{- if .Values.livenessProbe }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  failureThreshold: 6
  timeoutSeconds: 5
{{- end }}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  failureThreshold: 2
  timeoutSeconds: 3
{{- end -}}
