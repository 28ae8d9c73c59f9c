{{/*
Commands in pods of their own: a CronJob for each, from which people make Jobs, and which makes them itself where it has
a schedule.
*/}}

{{/* A CronJob's name has at most 52 characters, for those of its Jobs have eleven more: {root, name} */}}
{{- define "tradepost.tasks.name" -}}
{{- printf "%s-%s" (include "tradepost.fullname" .root | trunc (sub 51 (len .name) | int) | trimSuffix "-") .name -}}
{{- end -}}

{{/* {root, component, name, job: the Job's spec, schedule: by hand alone, if empty} */}}
{{- define "tradepost.tasks.cronJob" -}}
{{- $tasks := .root.Values.tasks -}}
apiVersion: batch/v1
kind: CronJob
metadata: {{ include "tradepost.metadata" (dict "root" .root "component" .component "name" (include "tradepost.tasks.name" .)) | nindent 2 }}
spec:
  {{- /* Kubernetes wants one in any case. */}}
  schedule: {{ .schedule | default "0 0 1 1 *" | quote }}
  suspend: {{ empty .schedule }}
  {{- with $tasks.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: {{ $tasks.startingDeadlineSeconds | int64 }}
  successfulJobsHistoryLimit: {{ $tasks.successfulJobsHistoryLimit | int64 }}
  failedJobsHistoryLimit: {{ $tasks.failedJobsHistoryLimit | int64 }}
  jobTemplate:
    metadata:
      labels: {{ include "tradepost.labels" . | nindent 8 }}
    spec: {{ .job | nindent 6 }}
{{- end -}}

{{/* A Job's spec, of a pod as "tradepost.podTemplate" takes it, and retries: how often it is tried again. */}}
{{- define "tradepost.tasks.job" -}}
backoffLimit: {{ .retries | default 0 }}
activeDeadlineSeconds: {{ .root.Values.tasks.activeDeadlineSeconds | int64 }}
ttlSecondsAfterFinished: {{ .root.Values.tasks.ttlSecondsAfterFinished | int64 }}
podFailurePolicy:
  rules:
    # A fault that was found, a refusal, a wrong command line, bad settings: retries do not help.
    - action: FailJob
      onExitCodes: {containerName: {{ .name }}, operator: In, values: [1, 2, 78]}
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
template: {{ include "tradepost.podTemplate" . | nindent 2 }}
{{- end -}}
