{{/* The Job's spec. Where the Job is no hook, its name has a hash of it. */}}
{{- define "tradepost.migrations.spec" -}}
{{- $given := dict "root" . "component" "migration" "values" .Values.migrations -}}
{{- $hook := include "tradepost.migrations.isHook" . -}}
backoffLimit: {{ .Values.migrations.backoffLimit }}
activeDeadlineSeconds: {{ .Values.migrations.activeDeadlineSeconds }}
{{- if not $hook }}
ttlSecondsAfterFinished: {{ .Values.migrations.ttlSecondsAfterFinished }}
{{- end }}
podFailurePolicy:
  rules:
    # Bad settings, which an operator has to change: retries do not help.
    - action: FailJob
      onExitCodes: {containerName: migrate, operator: In, values: [78]}
    - action: Ignore
      onPodConditions: [{type: DisruptionTarget, status: "True"}]
template:
  metadata:
    labels: {{ include "tradepost.podLabels" $given | nindent 6 }}
    annotations:
      {{- include "tradepost.checksums" . | nindent 6 }}
      {{- with .Values.migrations.podAnnotations }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  spec:
    {{- if and $hook .Values.serviceAccount.create }}
    serviceAccountName: {{ include "tradepost.migrations.name" . }}
    {{- else }}
    serviceAccountName: {{ include "tradepost.serviceAccountName" . | quote }}
    {{- end }}
    {{- include "tradepost.pod" $given | nindent 4 }}
    restartPolicy: Never
    containers:
      - name: migrate
        {{- include "tradepost.container" $given | nindent 8 }}
        args: [migrate]
        env:
          {{- /* Not by the ConfigMap, which is not there yet when a hook runs. */}}
          {{- include "tradepost.env" (dict
                "of" "migrations"
                "extra" .Values.migrations.extraEnv
                "settings" (include "tradepost.settings" . | fromYaml)) | nindent 10 }}
        volumeMounts:
          {{- include "tradepost.volumeMounts" $given | nindent 10 }}
    volumes:
      {{- include "tradepost.volumes" (dict "component" "migration" "values" .Values.migrations "secret" (include "tradepost.migrations.secretName" .)) | nindent 6 }}
{{- end -}}
