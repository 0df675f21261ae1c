{{/*
Names are fixed: the CRDs and the node namespaces are one set a cluster, so there is one release a cluster.
*/}}

{{/* Labels of every object. */}}
{{- define "kilonova.labels" -}}
app.kubernetes.io/name: kilonova
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kilonova
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* What selects pods of a component: (list $ "controllers"). Never changes, as selectors cannot. */}}
{{- define "kilonova.selectorLabels" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: kilonova
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a component's pods: (list $ "controllers" $podLabels). */}}
{{- define "kilonova.podLabels" -}}
{{- $root := index . 0 -}}
{{- with index . 2 }}
{{- toYaml . }}
{{ end }}
{{- include "kilonova.selectorLabels" (list $root (index . 1)) }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kilonova
{{- end }}

{{/* An image's reference: (list $ .Values.controllers.image). */}}
{{- define "kilonova.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- with $root.Values.image.registry }}{{ . | trimSuffix "/" }}/{{ end }}
{{- $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}
{{- else }}:{{ $image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* imagePullSecrets of a pod. */}}
{{- define "kilonova.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the agents' pods are. */}}
{{- define "kilonova.agentsNamespace" -}}
{{ .Values.agents.namespace.name | default .Release.Namespace }}
{{- end }}

{{/* What the admission policies know the two programs by. */}}
{{- define "kilonova.controllersUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:kilonova-controllers
{{- end }}
{{- define "kilonova.agentUser" -}}
system:serviceaccount:{{ include "kilonova.agentsNamespace" . }}:kilonova-agent
{{- end }}

{{/* A node group's settings, as YAML: (list $ $name). What a group leaves out is agents.defaults'. */}}
{{- define "kilonova.nodeGroup" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.agents.groups (index . 1) | default dict -}}
{{- $merged := mergeOverwrite (deepCopy $root.Values.agents.defaults) (deepCopy $own) -}}
{{- /* What makes sense as a whole only replaces the default, and is not mixed with it. */ -}}
{{- range $key := list "nodeSelector" "physicalNetworks" "share" "resources" }}
{{- if hasKey $own $key }}{{ $_ := set $merged $key (index $own $key) }}{{ end }}
{{- end }}
{{- toYaml $merged }}
{{- end }}

{{/* Logs, and the addresses that images come from: the same for both programs. */}}
{{- define "kilonova.commonEnv" -}}
- name: RUST_LOG
  value: {{ .Values.log.level | quote }}
- name: KILONOVA_LOG_FORMAT
  value: {{ .Values.log.format | quote }}
{{- with .Values.imageSources.allowCIDRs }}
- name: KILONOVA_IMAGE_ALLOW_CIDRS
  value: {{ join "," . | quote }}
{{- end }}
{{- with include "kilonova.imageDenyCIDRs" . }}
- name: KILONOVA_IMAGE_DENY_CIDRS
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{/* Ranges that tenants' images do not come from: those of imageSources, and what guests do not reach anywhere. */}}
{{- define "kilonova.imageDenyCIDRs" -}}
{{- $ranges := concat .Values.imageSources.denyCIDRs .Values.agents.defaults.blockedCIDRs -}}
{{- range .Values.agents.groups }}
{{- with . }}{{ $ranges = concat $ranges (.blockedCIDRs | default list) }}{{ end }}
{{- end }}
{{- $ranges | uniq | join "," }}
{{- end }}

{{/* The API server as the operator names it, for pods that shall not need the Service of it. */}}
{{- define "kilonova.apiServerEnv" -}}
{{- with .Values.apiServer.host -}}
- name: KUBERNETES_SERVICE_HOST
  value: {{ . | quote }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ $.Values.apiServer.port | quote }}
{{- end }}
{{- end }}

{{/* The version in which this API server serves MutatingAdmissionPolicy; empty where it does not. */}}
{{- define "kilonova.mutatingVersion" -}}
{{- range $version := list "v1" "v1beta1" -}}
{{- if $.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" $version) -}}
{{ printf "admissionregistration.k8s.io/%s" $version }}{{ break }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A number as it is written: not 8.64e+04, as Helm prints what came as a float. */}}
{{- define "kilonova.number" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* A map as `a=b,c=d`. */}}
{{- define "kilonova.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . }}{{ $pairs = append $pairs (printf "%s=%s" $key $value) }}{{ end -}}
{{ join "," $pairs }}
{{- end }}

{{/* An address and port to listen at: .Values.agents.metrics. */}}
{{- define "kilonova.listen" -}}
{{ contains ":" .address | ternary (printf "[%s]" .address) .address }}:{{ .port }}
{{- end }}

{{/* Where an agent's kubelet asks whether it is ready. */}}
{{- define "kilonova.agentProbeHost" -}}
{{- $address := .Values.agents.metrics.address -}}
{{ has $address (list "0.0.0.0" "::") | ternary "127.0.0.1" $address }}
{{- end }}
