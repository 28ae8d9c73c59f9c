{{/*
A pod, whatever runs it. Another kind of pod is one more dict, and has all that the values of pods can say:
- root; component, which is its label and decides which secrets it gets; of, the name of its values; values
- name and args of its container; settings, a map, and variables, a list in YAML: its environment; configMap, whether
  the settings that all pods share come from there; secret, the name of the one that it has as files
- in YAML, where it has any: container, more fields of its container; lifecycle; mounts; volumes; sources, more of its
  files of secrets; initContainers; spec, more fields of the pod; account, where its ServiceAccount is not the release's
*/}}
{{- define "tradepost.podTemplate" -}}
metadata:
  labels: {{ include "tradepost.podLabels" . | nindent 4 }}
  annotations: {{ include "tradepost.podAnnotations" . | nindent 4 }}
spec: {{ include "tradepost.pod" . | nindent 2 }}
{{- end -}}

{{- define "tradepost.podAnnotations" -}}
{{- $first := dict "kubectl.kubernetes.io/default-container" .name -}}
{{- include "tradepost.merged" (list $first .values.podAnnotations (include "tradepost.checksums" .root | fromYaml)) | trim -}}
{{- end -}}

{{- define "tradepost.pod" -}}
{{- include "tradepost.checkPod" . -}}
automountServiceAccountToken: false
{{- /* A Service called tradepost would otherwise set TRADEPOST_PORT=tcp://... */}}
enableServiceLinks: false
serviceAccountName: {{ .account | default (include "tradepost.serviceAccountName" .root) | quote }}
{{- with include "tradepost.pullSecrets" .root | fromYamlArray }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext: {{ toYaml .root.Values.podSecurityContext | nindent 2 }}
{{- range $field := list "dnsPolicy" "priorityClassName" "runtimeClassName" "schedulerName" }}
{{- with get $.values $field }}
{{ $field }}: {{ . | quote }}
{{- end }}
{{- end }}
{{- range $field := list "affinity" "dnsConfig" "hostAliases" "nodeSelector" "tolerations" }}
{{- with get $.values $field }}
{{ $field }}: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if eq (toString .values.hostUsers) "false" }}
hostUsers: false
{{- end }}
{{- include "tradepost.spread" . }}
{{- with .spec }}
{{ . | trim }}
{{- end }}
{{- if or .initContainers .values.initContainers }}
initContainers:
  {{- with .values.initContainers }}
  {{- include "tradepost.extraContainers" (dict "root" $.root "containers" .) | nindent 2 }}
  {{- end }}
  {{- with .initContainers }}
  {{- . | trim | nindent 2 }}
  {{- end }}
{{- end }}
containers:
  - {{ include "tradepost.container" . | nindent 4 | trim }}
  {{- with .values.extraContainers }}
  {{- include "tradepost.extraContainers" (dict "root" $.root "containers" .) | nindent 2 }}
  {{- end }}
volumes: {{ include "tradepost.volumes" . | trim | nindent 2 }}
{{- end -}}

{{/* As charts of others have them: by name or as objects. A name twice is refused by Helm 4's server-side apply. */}}
{{- define "tradepost.pullSecrets" -}}
{{- $found := list -}}
{{- range concat (dig "imagePullSecrets" "" (.Values.global | default dict) | default list) (.Values.image.pullSecrets | default list) -}}
{{- if kindIs "map" . -}}
{{- $found = append $found (dict "name" .name) -}}
{{- else -}}
{{- $found = append $found (dict "name" .) -}}
{{- end -}}
{{- end -}}
{{- toYaml (uniq $found) -}}
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

{{- define "tradepost.volumes" -}}
{{- with .volumes }}
{{ . | trim }}
{{- end }}
{{- if .secret }}
- name: secrets
  projected:
    defaultMode: 0440
    sources: {{ include "tradepost.secretSources" . | nindent 6 }}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- with .values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of a container that answers HTTP. */}}
{{- define "tradepost.serving" -}}
ports:
  - {name: http, containerPort: 8000, protocol: TCP}
  - {name: metrics, containerPort: 9090, protocol: TCP}
{{ include "tradepost.probes" . | trim }}
{{- end -}}

{{/* /startupz answers once the process serves. A pod that waits for its schema is not ready, and not restarted. */}}
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
