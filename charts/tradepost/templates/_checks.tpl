{{/* What no schema can say: values that do not fit each other. Each check fails with what to do. */}}

{{- define "tradepost.checks" -}}
{{- include "tradepost.checkEnabled" . -}}
{{- include "tradepost.checkService" . -}}
{{- include "tradepost.checkSecrets" . -}}
{{- include "tradepost.checkAccount" . -}}
{{- include "tradepost.checkConfig" . -}}
{{- include "tradepost.checkProxies" . -}}
{{- include "tradepost.checkAutoscaling" . -}}
{{- include "tradepost.checkScraping" . -}}
{{- include "tradepost.checkConnections" . -}}
{{- include "tradepost.checkPooler" . -}}
{{- include "tradepost.checkRehearsal" . -}}
{{- end -}}

{{/* Helm deletes a hook's account once the migration has succeeded. */}}
{{- define "tradepost.checkAccount" -}}
{{- $hooks := include "tradepost.migrations.name" . -}}
{{- if and (include "tradepost.migrations.isHook" .) .Values.serviceAccount.create (eq $hooks (include "tradepost.serviceAccountName" .)) -}}
{{- fail (printf "serviceAccount.name is %s, which is the migration's own, and goes with it: choose another." $hooks) -}}
{{- end -}}
{{- end -}}

{{- define "tradepost.checkSecrets" -}}
{{- $secrets := .Values.secrets -}}
{{- if include "tradepost.ownSecret" . -}}
{{- if not (and $secrets.secretKey $secrets.databaseUrl) -}}
{{- fail "Set secrets.secretKey (`tradepost generate-key` makes one) and secrets.databaseUrl (postgresql://user:password@host:5432/name), or existingSecret, or externalSecret." -}}
{{- end -}}
{{- if ne (empty $secrets.adminEmail) (empty $secrets.adminPassword) -}}
{{- fail "Set both secrets.adminEmail and secrets.adminPassword, or neither." -}}
{{- end -}}
{{- if and $secrets.smtpUrl (not (hasKey (.Values.config | default dict) "MAIL_FROM")) -}}
{{- fail "secrets.smtpUrl needs config.MAIL_FROM, the sender's address." -}}
{{- end -}}
{{- else if or (and .Values.existingSecret .Values.externalSecret.enabled) (include "tradepost.secrets" (dict "root" .) | fromYaml) -}}
{{- fail "Secrets come from one place: set secrets, or existingSecret, or externalSecret." -}}
{{- end -}}
{{- if .Values.externalSecret.enabled -}}
{{- if not (and .Values.externalSecret.storeRef.name (or .Values.externalSecret.data .Values.externalSecret.dataFrom)) -}}
{{- fail "externalSecret needs storeRef.name, and data or dataFrom." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A URL with a user, a password or a query, which is how services take keys. */}}
{{- define "tradepost.holdsKey" -}}
{{- if regexMatch `^\s*[A-Za-z][A-Za-z0-9+.-]*://\S*[@?#]` (toString .) }}true{{ end -}}
{{- end -}}

{{/* Users who may read pods and ConfigMaps need not be allowed to read Secrets. */}}
{{- define "tradepost.checkConfig" -}}
{{- $list := include "tradepost.secretList" . | fromYaml -}}
{{- range $name, $value := .Values.config -}}
{{- $secret := get $list $name | default dict -}}
{{- if include "tradepost.holdsKey" $value -}}
{{- $instead := "give it by extraEnv, with valueFrom.secretKeyRef" -}}
{{- with $secret.value -}}
{{- $instead = printf "set secrets.%s, or %s in your Secret" . $name -}}
{{- end -}}
{{- fail (printf "config.%s is a URL with a user, a password or a query, such as a key, and config becomes a ConfigMap: %s." $name $instead) -}}
{{- end -}}
{{- with $secret.value -}}
{{- if get $.Values.secrets . -}}
{{- fail (printf "Set config.%s or secrets.%s, not both." $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
{of: where, variable; root and component, where it is of one of the service's own containers, which get what they need: by
the setting's name, or by another from the release's own Secret}
*/}}
{{- define "tradepost.checkVariable" -}}
{{- $list := include "tradepost.secretList" . | fromYaml -}}
{{- $secret := get $list .variable.name -}}
{{- $reference := dig "valueFrom" "secretKeyRef" dict .variable -}}
{{- if and .component (eq (toString $reference.name) (include "tradepost.secretName" .root)) -}}
{{- $secret = get $list (toString $reference.key) | default $secret -}}
{{- end -}}
{{- with .variable -}}
{{- if or (include "tradepost.holdsKey" .value) (and .value $secret) -}}
{{- fail (printf "%s has %s as plain text, which every user who may see pods can read: use valueFrom.secretKeyRef." $.of .name) -}}
{{- end -}}
{{- if and $secret $.component (not (has $.component ($secret.of | default list))) -}}
{{- fail (printf "%s has %s, which these pods do not need: it is for %s, and an intruder elsewhere should not find it." $.of .name (join " and " $secret.of)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A public service needs to know which proxies to trust for client addresses, for rate limits and the audit log. */}}
{{- define "tradepost.checkProxies" -}}
{{- $service := .Values.api.service -}}
{{- $none := eq (toString .Values.trustedProxies) "none" -}}
{{- $ways := list -}}
{{- range $way := list "ingress" "gateway" -}}
{{- if (get $.Values $way).enabled -}}
{{- $ways = append $ways (printf "%s.enabled" $way) -}}
{{- end -}}
{{- end -}}
{{- $proxied := $ways -}}
{{- if ne $service.type "ClusterIP" -}}
{{- $ways = append $ways (printf "api.service.type %s" $service.type) -}}
{{- else if $service.externalTrafficPolicy -}}
{{- fail "api.service.externalTrafficPolicy is for the types NodePort and LoadBalancer." -}}
{{- end -}}
{{- if and $ways (not .Values.trustedProxies) -}}
{{- fail (printf "With %s set trustedProxies to the networks of the proxies in front, such as [10.0.0.0/8]: without it every client has the proxy's address, and everyone shares one rate limit. Where clients reach the Service without any proxy, set it to none, and api.service.externalTrafficPolicy to Local." (join " and " $ways)) -}}
{{- end -}}
{{- range kindIs "slice" .Values.trustedProxies | ternary .Values.trustedProxies list -}}
{{- $size := regexFind "/[0-9]+$" . | trimPrefix "/" -}}
{{- $widest := and (contains ":" .) (not (hasPrefix "f" (lower .))) | ternary 16 8 -}}
{{- if and $size (lt (int $size) $widest) -}}
{{- fail (printf "trustedProxies has %s, which the service refuses: it is wider than /%d, so that nearly every client could make up its address. Name the proxies' own addresses or networks, such as 10.244.0.0/16." . $widest) -}}
{{- end -}}
{{- end -}}
{{- if and $none $proxied -}}
{{- fail (printf "trustedProxies is none, but with %s there is a proxy: name its networks, or everyone shares one rate limit." (join " and " $proxied)) -}}
{{- end -}}
{{- if and $none $ways (ne $service.externalTrafficPolicy "Local") -}}
{{- fail "trustedProxies is none, which needs api.service.externalTrafficPolicy: Local: otherwise nodes put their own address in place of each client's, and everyone shares one rate limit." -}}
{{- end -}}
{{- range .Values.publicPaths -}}
{{- if and (eq .path "/") (eq .pathType "Prefix") -}}
{{- fail "publicPaths has / as Prefix, which lets the probes in too: name the paths, such as /api/v1." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.parentRefs) -}}
{{- fail "gateway.parentRefs must name the Gateways that the route belongs to." -}}
{{- end -}}
{{- end -}}

{{- define "tradepost.checkAutoscaling" -}}
{{- $scaled := dict -}}
{{- if .Values.autoscaling.enabled -}}
{{- $_ := set $scaled "autoscaling" (merge (dict "metric" "targetRequestsInProgress") .Values.autoscaling) -}}
{{- end -}}
{{- if and .Values.worker.enabled .Values.worker.autoscaling.enabled -}}
{{- $_ := set $scaled "worker.autoscaling" (merge (dict "metric" "targetOldestSeconds") .Values.worker.autoscaling) -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
{{- include "tradepost.checkCpuRequests" . -}}
{{- end -}}
{{- $keda := .Values.autoscaling.keda -}}
{{- if and (or $keda.authModes $keda.authenticationRef) (not (dig "name" "" ($keda.authenticationRef | default dict))) -}}
{{- fail "autoscaling.keda.authModes and authenticationRef need autoscaling.keda.authenticationRef.name, the TriggerAuthentication that has the credentials." -}}
{{- end -}}
{{- $measured := list -}}
{{- range $of, $scaling := $scaled -}}
{{- if gt ($scaling.minReplicas | int) ($scaling.maxReplicas | int) -}}
{{- fail (printf "%s.minReplicas is %d, more than %s.maxReplicas, %d." $of ($scaling.minReplicas | int) $of ($scaling.maxReplicas | int)) -}}
{{- end -}}
{{- if get $scaling $scaling.metric -}}
{{- $measured = append $measured (printf "%s.%s" $of $scaling.metric) -}}
{{- end -}}
{{- end -}}
{{- if $measured -}}
{{- $all := join " and " $measured -}}
{{- if not .Values.monitoring.enabled -}}
{{- fail (printf "%s: Prometheus must have the metrics. Set monitoring.enabled; where it scrapes the pods already, with the labels namespace and job=%s, also monitoring.scrape.enabled: false." $all (include "tradepost.fullname" .)) -}}
{{- end -}}
{{- if and (eq .Values.autoscaling.engine "keda") (not .Values.autoscaling.keda.serverAddress) -}}
{{- fail (printf "%s: KEDA asks Prometheus. Set autoscaling.keda.serverAddress, such as http://prometheus-operated.monitoring:9090." $all) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* CPU is measured in percent of the requests of all containers that run on. Where one has none, no autoscaler acts. */}}
{{- define "tradepost.checkCpuRequests" -}}
{{- $lacking := list -}}
{{- if not (include "tradepost.requestsCpu" .Values.api) -}}
{{- $lacking = append $lacking "the API (api.resources)" -}}
{{- end -}}
{{- range .Values.api.extraContainers -}}
{{- if not (include "tradepost.requestsCpu" .) -}}
{{- $lacking = append $lacking (printf "container %s of api.extraContainers" .name) -}}
{{- end -}}
{{- end -}}
{{- range .Values.api.initContainers -}}
{{- if and (eq (toString .restartPolicy) "Always") (not (include "tradepost.requestsCpu" .)) -}}
{{- $lacking = append $lacking (printf "container %s of api.initContainers" .name) -}}
{{- end -}}
{{- end -}}
{{- with $lacking -}}
{{- fail (printf "autoscaling.enabled compares CPU use with the requests of all containers of the API's pods, and these have none: %s. Set resources.requests.cpu of each." (join ", " .)) -}}
{{- end -}}
{{- end -}}

{{/* A limit alone is a request too. */}}
{{- define "tradepost.requestsCpu" -}}
{{- with .resources -}}
{{- if or (dig "cpu" "" (.requests | default dict)) (dig "cpu" "" (.limits | default dict)) }}true{{ end -}}
{{- end -}}
{{- end -}}

{{/* The Prometheus Operator leaves such a monitor out and says so in its own log alone. */}}
{{- define "tradepost.checkScraping" -}}
{{- $midnight := toDate "2006-01-02" "2000-01-01" -}}
{{- with .Values.monitoring.scrape -}}
{{- if (mustDateModify .interval $midnight).Before (mustDateModify .timeout $midnight) -}}
{{- fail (printf "monitoring.scrape.timeout is %s, longer than monitoring.scrape.interval, %s: Prometheus would not scrape at all." .timeout .interval) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A rollout's additional pods: a number, or a percentage rounded up. */}}
{{- define "tradepost.surge" -}}
{{- if kindIs "string" .surge -}}
{{- ceil (divf (mulf (trimSuffix "%" .surge | int) .pods) 100) | int -}}
{{- else -}}
{{- .surge | int -}}
{{- end -}}
{{- end -}}

{{/*
What could be open at once, at its worst: the autoscalers at their maxima, in the middle of a rollout. Behind a pooler the
API's connections are the pooler's, but for those that listen.
*/}}
{{- define "tradepost.checkConnections" -}}
{{- $most := .Values.database.maxConnections | int -}}
{{- $pool := .Values.database.poolSize | int -}}
{{- $overflow := .Values.database.maxOverflow | int -}}
{{- $pooler := .Values.database.pooler -}}
{{- $each := add $pool $overflow 1 -}}
{{- $pods := .Values.autoscaling.enabled | ternary .Values.autoscaling.maxReplicas .Values.api.replicas | int -}}
{{- $surge := include "tradepost.surge" (dict "surge" .Values.api.maxSurge "pods" $pods) | int -}}
{{- $processes := .Values.api.workers | int -}}
{{- $api := mul (add $pods $surge) $processes $each -}}
{{- $ofApi := printf "API (%d pods + %d surge) x %d workers x (%d pool + %d overflow + 1 listener) = %d" $pods $surge $processes $pool $overflow $api -}}
{{- $lower := list (.Values.autoscaling.enabled | ternary "autoscaling.maxReplicas" "api.replicas") -}}
{{- if $pooler.address -}}
{{- $clients := mul (add $pods $surge) $processes (add $pool $overflow) -}}
{{- if and $pooler.maxClients (gt $clients ($pooler.maxClients | int64)) -}}
{{- fail (printf "database.pooler.maxClients is %d, but the API could open %d connections to the pooler: (%d pods + %d surge) x %d workers x (%d pool + %d overflow). Lower %s, api.workers or database.poolSize, or let the pooler take more (max_client_conn) and say so here." ($pooler.maxClients | int) $clients $pods $surge $processes $pool $overflow (first $lower)) -}}
{{- end -}}
{{- $listeners := mul (add $pods $surge) $processes -}}
{{- $api = add $listeners $pooler.serverConnections -}}
{{- $ofApi = printf "API %d of the pooler + (%d pods + %d surge) x %d workers x 1 listener = %d" ($pooler.serverConnections | int) $pods $surge $processes $api -}}
{{- $lower = prepend $lower "database.pooler.serverConnections" -}}
{{- end -}}
{{- $workerPods := .Values.worker.autoscaling.enabled | ternary .Values.worker.autoscaling.maxReplicas .Values.worker.replicas | int -}}
{{- if not .Values.worker.enabled -}}
{{- $workerPods = 0 -}}
{{- else if .Values.worker.autoscaling.enabled -}}
{{- $lower = append $lower "worker.autoscaling.maxReplicas" -}}
{{- end -}}
{{- $workerSurge := 0 -}}
{{- if $workerPods -}}
{{- $workerSurge = include "tradepost.surge" (dict "surge" .Values.worker.maxSurge "pods" $workerPods) | int -}}
{{- end -}}
{{- $worker := mul (add $workerPods $workerSurge) $each -}}
{{- $migration := eq .Values.migrations.mode "none" | ternary 0 1 -}}
{{- $all := add $api $worker $migration -}}
{{- if and $most (gt $all ($most | int64)) -}}
{{- fail (printf "database.maxConnections is %d, but %d connections could be open at once: %s; worker (%d pods + %d surge) x (%d pool + %d overflow + 1 listener) = %d; migration %d. Lower %s, api.workers or database.poolSize, or let PostgreSQL have more and say so here." $most $all $ofApi $workerPods $workerSurge $pool $overflow $worker $migration (join ", " $lower)) -}}
{{- end -}}
{{- end -}}

{{/* A pooler's port that the policy does not let through looks like a database that does not answer. */}}
{{- define "tradepost.checkPooler" -}}
{{- $address := .Values.database.pooler.address -}}
{{- $rule := .Values.networkPolicy.egress.postgresql -}}
{{- if and $address .Values.networkPolicy.enabled $rule.enabled -}}
{{- $port := regexFind "[0-9]+$" $address | int -}}
{{- $open := list -}}
{{- range $rule.ports -}}
{{- $open = append $open (int .) -}}
{{- end -}}
{{- if not (has $port $open) -}}
{{- fail (printf "networkPolicy.egress.postgresql.ports lacks %d, the port of database.pooler.address: the API could not reach the pooler." $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
