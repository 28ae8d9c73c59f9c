{{/*
How many pods a Deployment has is the autoscaler's where that is on, and Helm must neither reset it nor fight for it.

- A number that Helm set and then leaves out becomes 1. So what there is now is repeated as long as Helm alone has a say.
- Applied on the server (Helm 4), it is in conflict with any other scaling since, and so would be a rollback to it. So it is
  left out from then on: it stays as it is, for it has another owner.
- Merged by the client (Helm 3), it is only ever compared with what Helm itself wrote before, and is always repeated.
*/}}
{{- define "tradepost.replicasToRepeat" -}}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace (include "tradepost.fullname" .) -}}
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
