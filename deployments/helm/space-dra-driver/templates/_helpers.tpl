{{- define "space.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end -}}

{{- define "space.controller" -}}
{{ include "space.name" . }}-controller
{{- end -}}

{{- define "space.kubeletplugin" -}}
{{ include "space.name" . }}-kubeletplugin
{{- end -}}

{{- define "space.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "space.labels" -}}
{{ include "space.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "space.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{- /* Empty unless there is a pool for each node. */ -}}
{{- define "space.poolsPerNode" -}}
{{- range .Values.pools }}{{ if .perNode }}yes{{ end }}{{ end -}}
{{- end -}}
