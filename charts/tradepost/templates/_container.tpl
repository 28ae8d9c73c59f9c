{{/* What all containers have in common, and what they get from the values of their pod. */}}

{{/* A mirror for the whole release, `global.imageRegistry`, is in place of the host that the repository names. */}}
{{- define "tradepost.image" -}}
{{- $image := .Values.image -}}
{{- $repository := $image.repository -}}
{{- with dig "imageRegistry" "" (.Values.global | default dict) -}}
{{- $path := regexReplaceAll `^([^/]*[.:][^/]*|localhost)/` $repository "" -}}
{{- $repository = printf "%s/%s" . $path -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (include "tradepost.text" $image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* The service's own, of a pod as "tradepost.pod" takes it. */}}
{{- define "tradepost.container" -}}
name: {{ .name }}
image: {{ include "tradepost.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext: {{ toYaml .root.Values.containerSecurityContext | nindent 2 }}
{{- /* The last lines of the log, which name the cause. Nothing is written in the container for it. */}}
terminationMessagePolicy: FallbackToLogsOnError
resources: {{ toYaml .values.resources | nindent 2 }}
{{- with .values.command }}
command: {{ toYaml . | nindent 2 }}
{{- end }}
args: {{ toYaml .args | nindent 2 }}
{{- if .configMap }}
envFrom:
  - configMapRef: {name: {{ include "tradepost.fullname" .root }}}
{{- end }}
{{- with include "tradepost.env" . | trim }}
env: {{ . | nindent 2 }}
{{- end }}
{{- with .container }}
{{ . | trim }}
{{- end }}
{{- with include "tradepost.lifecycle" . | fromYaml }}
lifecycle: {{ toYaml . | nindent 2 }}
{{- end }}
volumeMounts: {{ include "tradepost.volumeMounts" . | trim | nindent 2 }}
{{- end -}}

{{/* A name twice is refused by Helm 4's server-side apply. */}}
{{- define "tradepost.env" -}}
{{- $names := list -}}
{{- range .variables | default "[]" | fromYamlArray }}
{{- $names = append $names .name }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- range $name, $value := .settings | default dict }}
{{- $names = append $names $name }}
- name: {{ $name }}
  value: {{ toString $value | quote }}
{{- end }}
{{- range .values.extraEnv }}
{{- if has .name $names }}
{{- fail (printf "%s: extraEnv has %s, which the chart sets already or which is there twice. Other values of the chart decide it." $.of .name) }}
{{- end }}
{{- include "tradepost.checkVariable" (dict "of" (printf "%s: extraEnv" $.of) "variable" . "root" $.root "component" $.component) }}
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

{{/* The values' hooks beside the chart's own, which nothing replaces: the API drains by its preStop. */}}
{{- define "tradepost.lifecycle" -}}
{{- $own := .lifecycle | default "{}" | fromYaml -}}
{{- range $hook, $handler := .values.lifecycle -}}
{{- if hasKey $own $hook -}}
{{- fail (printf "%s.lifecycle.%s is the chart's own: its pods drain by it, for %s.shutdown.drainSeconds. A container of yours in extraContainers can have one." $.of $hook $.of) -}}
{{- end -}}
{{- $_ := set $own $hook $handler -}}
{{- end -}}
{{- toYaml $own -}}
{{- end -}}

{{- define "tradepost.volumeMounts" -}}
{{- with .mounts }}
{{ . | trim }}
{{- end }}
{{- if .secret }}
- {name: secrets, mountPath: /etc/tradepost/secrets, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- with .values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Containers of the values, each as restricted as the service's own where it does not say otherwise: {root, containers} */}}
{{- define "tradepost.extraContainers" -}}
{{- range .containers }}
{{- $container := deepCopy . }}
{{- $security := $container.securityContext | default dict }}
{{- range $key, $value := $.root.Values.containerSecurityContext }}
{{- if not (hasKey $security $key) }}{{ $_ := set $security $key $value }}{{ end }}
{{- end }}
{{- $_ := set $container "securityContext" $security }}
- {{ toYaml $container | nindent 2 | trim }}
{{- end }}
{{- end -}}
