{{/*
How many pods a Deployment has is the autoscaler's where that is on, and Helm must neither reset it nor fight for it:
{root, name: the Deployment's}.

- A number that Helm set and then leaves out becomes 1. So what there is now is repeated as long as Helm alone has a say.
- Applied on the server (Helm 4), it is in conflict with any other scaling since, and so would be a rollback to it. So it is
  left out from then on: it stays as it is, for it has another owner.
- Merged by the client (Helm 3), it is only ever compared with what Helm itself wrote before, and is always repeated.
*/}}
{{- define "tradepost.replicasToRepeat" -}}
{{- with lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- $onServer := false -}}
{{- $helms := false -}}
{{- $scaled := false -}}
{{- range dig "metadata" "managedFields" list . -}}
{{- $owns := kindIs "map" (dig "fieldsV1" "f:spec" "f:replicas" "" .) -}}
{{- if eq .operation "Apply" -}}
{{- $onServer = true -}}
{{- $helms = or $helms $owns -}}
{{- else if eq (get . "subresource") "scale" -}}
{{- $scaled = or $scaled $owns -}}
{{- end -}}
{{- end -}}
{{- if or (not $onServer) (and $helms (not $scaled)) -}}
{{- .spec.replicas -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The `replicas` of a Deployment: {root, name, replicas, autoscaled} */}}
{{- define "tradepost.replicas" -}}
{{- if not .autoscaled -}}
replicas: {{ .replicas }}
{{- else -}}
{{- with include "tradepost.replicasToRepeat" . -}}
replicas: {{ . }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What both engines say in the same way: {root, component, name, scaling: the values} */}}
{{- define "tradepost.autoscaler" -}}
{{- $keda := eq .root.Values.autoscaling.engine "keda" -}}
apiVersion: {{ $keda | ternary "keda.sh/v1alpha1" "autoscaling/v2" }}
kind: {{ $keda | ternary "ScaledObject" "HorizontalPodAutoscaler" }}
{{- /* When an upgrade puts KEDA in its place an HPA is still there, and KEDA would refuse to scale beside it. */}}
{{- $own := $keda | ternary "" `validations.keda.sh/hpa-ownership: "false"` }}
metadata: {{ include "tradepost.metadata" (dict "root" .root "component" .component "name" .name "annotations" .scaling.annotations "own" $own) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  {{- if $keda }}
  minReplicaCount: {{ .scaling.minReplicas }}
  maxReplicaCount: {{ .scaling.maxReplicas }}
  {{- with .scaling.behavior }}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior: {{ toYaml . | nindent 8 }}
  {{- end }}
  {{- else }}
  minReplicas: {{ .scaling.minReplicas }}
  maxReplicas: {{ .scaling.maxReplicas }}
  {{- with .scaling.behavior }}
  behavior: {{ toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- end -}}

{{/* A query of KEDA's to Prometheus: {root, name, query, threshold, type: Value or AverageValue} */}}
{{- define "tradepost.kedaTrigger" -}}
{{- $keda := .root.Values.autoscaling.keda -}}
- type: prometheus
  name: {{ .name }}
  metricType: {{ .type }}
  metadata:
    serverAddress: {{ $keda.serverAddress | quote }}
    query: {{ .query | quote }}
    threshold: {{ include "tradepost.text" .threshold | quote }}
    # No data is a fault, on which the number of pods stays, and not 0, on which it would fall.
    ignoreNullValues: "false"
    {{- with $keda.authModes }}
    authModes: {{ . | quote }}
    {{- end }}
  {{- with $keda.authenticationRef }}
  authenticationRef: {{ toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* The series of this release, as rules and dashboard select them. */}}
{{- define "tradepost.ofRelease" -}}
{{- printf "namespace=%q, job=%q" .Release.Namespace (include "tradepost.fullname" .) -}}
{{- end -}}
