{{/* The Job's spec. Where the Job is no hook, its name has a hash of it. */}}
{{- define "tradepost.migrations.spec" -}}
{{- $hook := include "tradepost.migrations.isHook" . -}}
{{- $account := "" -}}
{{- if and $hook .Values.serviceAccount.create -}}
{{- $account = include "tradepost.migrations.name" . -}}
{{- end -}}
{{- $pod := dict "root" . "component" "migration" "of" "migrations" "values" .Values.migrations
      "name" "migrate"
      "args" (list "migrate")
      "account" $account
      "secret" (include "tradepost.migrations.secretName" .)
      "settings" (include "tradepost.settings" . | fromYaml)
      "spec" "restartPolicy: Never" -}}
{{- /* Its settings are not from the ConfigMap, which is not there yet when a hook runs. */ -}}
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
template: {{ include "tradepost.podTemplate" $pod | nindent 2 }}
{{- end -}}
