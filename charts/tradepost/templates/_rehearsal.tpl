{{/* The rehearsal of a restore: the restored database is one of yours, or stands in the pod, made from the newest dump. */}}

{{- define "tradepost.checkRehearsal" -}}
{{- $rehearsal := .Values.tasks.rehearsal -}}
{{- $own := $rehearsal.database.secretName -}}
{{- if $rehearsal.enabled -}}
{{- if eq (empty $own) (empty $rehearsal.dump.volume) -}}
{{- fail "tasks.rehearsal needs what was restored: tasks.rehearsal.database.secretName, or tasks.rehearsal.dump.volume with the dumps, and not both." -}}
{{- end -}}
{{- if and $own (eq $own (include "tradepost.secretName" .)) -}}
{{- fail (printf "tasks.rehearsal.database.secretName is %s, the release's own Secret: a rehearsal reads what was restored, not the database in use." $own) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The address of a restored database, as a list of variables. */}}
{{- define "tradepost.rehearsal.restored" -}}
{{- with .Values.tasks.rehearsal.database }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ .secretName | quote }}, key: {{ .secretKey | quote }}}
{{- end }}
{{- end -}}

{{- define "tradepost.rehearsal.volumes" -}}
- name: postgresql-data
  emptyDir: {sizeLimit: {{ .Values.tasks.rehearsal.dump.size }}}
- name: postgresql-run
  emptyDir: {sizeLimit: 1Mi}
- {{ merge (dict "name" "dumps") .Values.tasks.rehearsal.dump.volume | toYaml | nindent 2 | trim }}
{{- end -}}

{{/* A PostgreSQL that runs beside what follows, and what fills it. */}}
{{- define "tradepost.rehearsal.containers" -}}
{{- $dump := .Values.tasks.rehearsal.dump -}}
{{- if $dump.volume }}
- name: postgresql
  restartPolicy: Always
  image: {{ $dump.image | quote }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{ toYaml .Values.containerSecurityContext | nindent 4 }}
  resources: {{ toYaml $dump.resources | nindent 4 }}
  # What is lost with the pod need not be on disk.
  args: [postgres, -c, listen_addresses=127.0.0.1, -c, fsync=off, -c, full_page_writes=off]
  env:
    - {name: POSTGRES_USER, value: tradepost}
    - {name: POSTGRES_DB, value: tradepost}
    - {name: POSTGRES_HOST_AUTH_METHOD, value: trust}
    - {name: POSTGRES_INITDB_ARGS, value: --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8}
  startupProbe:
    exec: {command: [pg_isready, --host=127.0.0.1, --username=tradepost]}
    periodSeconds: 2
    failureThreshold: 60
  volumeMounts:
    - {name: postgresql-data, mountPath: /var/lib/postgresql}
    - {name: postgresql-run, mountPath: /var/run/postgresql}
    - {name: tmp, mountPath: /tmp}
- name: restore
  image: {{ $dump.image | quote }}
  terminationMessagePolicy: FallbackToLogsOnError
  securityContext: {{ toYaml .Values.containerSecurityContext | nindent 4 }}
  resources: {{ toYaml $dump.resources | nindent 4 }}
  command:
    - /bin/sh
    - -ec
    - |
      newest=$(ls -td /dumps/{{ $dump.pattern }} | head -n 1)
      [ -n "$newest" ]
      echo "Restoring $newest"
      pg_restore --no-owner --no-privileges --exit-on-error --single-transaction \
        --host=127.0.0.1 --username=tradepost --dbname=tradepost "$newest"
  volumeMounts:
    - {name: dumps, mountPath: /dumps, readOnly: true}
    - {name: tmp, mountPath: /tmp}
{{- end }}
{{- end -}}
