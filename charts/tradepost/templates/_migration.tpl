{{/* The Job's spec. Where the Job is no hook, its name has a hash of it: {root, hook} */}}
{{- define "tradepost.migrations.spec" -}}
{{- $migrations := .root.Values.migrations -}}
{{- $account := "" -}}
{{- $secret := include "tradepost.secretName" .root -}}
{{- if .hook -}}
{{- $secret = include "tradepost.migrations.secretName" .root -}}
{{- if .root.Values.serviceAccount.create -}}
{{- $account = include "tradepost.migrations.name" .root -}}
{{- end -}}
{{- end -}}
{{- $pod := dict "root" .root "component" "migration" "of" "migrations" "values" $migrations
      "name" "migrate"
      "args" (list "migrate")
      "account" $account
      "secret" $secret
      "settings" (include "tradepost.settings" .root | fromYaml)
      "spec" "restartPolicy: Never" -}}
{{- /* Its settings are not from the ConfigMap, which is not there yet when a hook runs. */ -}}
backoffLimit: {{ $migrations.backoffLimit | int64 }}
activeDeadlineSeconds: {{ $migrations.activeDeadlineSeconds | int64 }}
{{- if not .hook }}
ttlSecondsAfterFinished: {{ $migrations.ttlSecondsAfterFinished | int64 }}
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
