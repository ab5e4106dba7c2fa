{{- define "space.metricsService" -}}
{{ include "space.name" . }}-metrics
{{- end -}}

{{- /* The endpoints of both components in a monitor. Their ports have different names: (list . <the monitor's values>). */ -}}
{{- define "space.endpoints" -}}
{{- $ := first . -}}
{{- $secure := $.Values.metrics.secure -}}
# The controller.
- port: metrics
  {{- if $secure.enabled }}
  scheme: https
  tlsConfig:
    {{- if $secure.tlsConfig }}
    {{- toYaml $secure.tlsConfig | nindent 4 }}
    {{- else if $secure.certificate.existingSecret }}
    ca:
      secret:
        name: {{ $secure.certificate.existingSecret }}
        key: ca.crt
    serverName: {{ include "space.metricsService" $ }}.{{ include "space.namespace" $ }}.svc
    {{- else }}
    insecureSkipVerify: true
    {{- end }}
  {{- if $secure.token.existingSecret }}
  authorization:
    credentials:
      name: {{ $secure.token.existingSecret }}
      key: {{ $secure.token.existingSecretKey }}
  {{- else if $.Values.metrics.serviceMonitor.enabled }}
  bearerTokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
  {{- end }}
  {{- end }}
  {{- include "space.endpoint" (last .) | nindent 2 }}
# The kubelet plugin.
- port: http
  {{- include "space.endpoint" (last .) | nindent 2 }}
{{- end -}}

{{- define "space.endpoint" -}}
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
relabelings:
  # The dashboard uses the names of nodes as series legends.
  - {sourceLabels: [__meta_kubernetes_pod_node_name], targetLabel: node}
  {{- with .relabelings }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
