{{- /* The name of the port that has the metrics. */ -}}
{{- define "space.metricsPort" -}}
{{ if .Values.metrics.secure.enabled }}metrics{{ else }}http{{ end }}
{{- end -}}

{{- define "space.metricsService" -}}
{{ include "space.name" . }}-metrics
{{- end -}}

{{- /* How a monitor reads metrics: (list . <the monitor's values>). */ -}}
{{- define "space.endpoint" -}}
{{- $ := first . -}}
{{- $secure := $.Values.metrics.secure -}}
path: /metrics
{{- if $secure.enabled }}
scheme: https
tlsConfig:
  {{- if $secure.tlsConfig }}
  {{- toYaml $secure.tlsConfig | nindent 2 }}
  {{- else if $secure.certificateSecret }}
  ca:
    secret:
      name: {{ $secure.certificateSecret }}
      key: ca.crt
  serverName: {{ include "space.metricsService" $ }}.{{ $.Release.Namespace }}.svc
  {{- else }}
  insecureSkipVerify: true
  {{- end }}
{{- with $secure.tokenSecret }}
{{- if .name }}
authorization:
  credentials:
    name: {{ .name }}
    key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- with last . }}
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
  # The dashboard calls what is of a node by its name.
  - {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Arguments of a component that secures its metrics. */ -}}
{{- define "space.metricsArgs" -}}
{{- $ports := list (toString .Values.controller.httpPort) (toString .Values.kubeletPlugin.httpPort) -}}
{{- with .Values.metrics.secure -}}
{{- if .enabled -}}
{{- if has (toString .port) $ports }}{{ fail (printf "metrics.secure.port: port %v is for health checks" .port) }}{{ end -}}
- --secure-metrics-address=:{{ .port }}
{{- if .certificateSecret }}
- --secure-metrics-certificate=/etc/space-dra-driver-metrics/tls.crt
- --secure-metrics-key=/etc/space-dra-driver-metrics/tls.key
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "space.metricsVolume" -}}
- name: metrics-certificate
  secret:
    secretName: {{ .Values.metrics.secure.certificateSecret }}
{{- end -}}

{{- define "space.metricsMount" -}}
- name: metrics-certificate
  mountPath: /etc/space-dra-driver-metrics
  readOnly: true
{{- end -}}
