{{- /* A suffix has at most 14 characters, and a label value at most 63. */ -}}
{{- define "space.shortName" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 49 | trimSuffix "-" }}
{{- end -}}

{{- define "space.name" -}}
{{- $short := include "space.shortName" . -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 49 | trimSuffix "-" }}
{{- else if contains $short .Release.Name }}{{ .Release.Name | trunc 49 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $short | trunc 49 | trimSuffix "-" }}{{ end }}
{{- end -}}

{{- define "space.controller" -}}
{{ include "space.name" . }}-controller
{{- end -}}

{{- define "space.kubeletplugin" -}}
{{ include "space.name" . }}-kubeletplugin
{{- end -}}

{{- define "space.controllerServiceAccount" -}}
{{ .Values.controller.serviceAccount.name | default (include "space.controller" .) }}
{{- end -}}

{{- define "space.kubeletpluginServiceAccount" -}}
{{ .Values.kubeletPlugin.serviceAccount.name | default (include "space.kubeletplugin" .) }}
{{- end -}}

{{- define "space.namespace" -}}
{{ .Values.namespaceOverride | default .Release.Namespace }}
{{- end -}}

{{- /* The version of the image, as a label. kubectl space reads that of the DeviceClass. */ -}}
{{- define "space.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "_.-" }}
{{- end -}}

{{- define "space.selectorLabels" -}}
app.kubernetes.io/name: {{ include "space.shortName" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- /* The chart's own labels, which values cannot override: selectors use them. */ -}}
{{- define "space.ownLabels" -}}
app.kubernetes.io/name app.kubernetes.io/instance app.kubernetes.io/component app.kubernetes.io/version app.kubernetes.io/managed-by helm.sh/chart
{{- end -}}

{{- define "space.labels" -}}
{{ include "space.selectorLabels" . }}
app.kubernetes.io/version: {{ include "space.version" . | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- include "space.moreLabels" .Values.commonLabels }}
{{- end -}}

{{- /* Labels from the values, after the chart's own. */ -}}
{{- define "space.moreLabels" -}}
{{- $own := splitList " " (include "space.ownLabels" .) -}}
{{- range $key, $value := . }}
{{- if not (has $key $own) }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Labels of one object, after those of all objects, which take precedence: (list <root> <labels>). */ -}}
{{- define "space.objectLabels" -}}
{{- $all := include "space.labels" (first .) | fromYaml -}}
{{- range $key, $value := last . }}
{{- if not (hasKey $all $key) }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- /* Labels of a component's pods: (list <root> <component> <its values>). */ -}}
{{- define "space.podLabels" -}}
{{- $common := first . -}}
{{- $values := last . -}}
{{ include "space.selectorLabels" $common }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/version: {{ include "space.version" $common | quote }}
app.kubernetes.io/managed-by: {{ $common.Release.Service }}
helm.sh/chart: {{ $common.Chart.Name }}-{{ $common.Chart.Version }}
{{- include "space.moreLabels" (merge (dict) ($values.podLabels | default dict) ($common.Values.commonLabels | default dict)) }}
{{- end -}}

{{- /* Annotations and labels of an object. Labels come last, so that a template can add more. */ -}}
{{- define "space.metadata" -}}
{{ include "space.metadataWith" (list . (dict)) }}
{{- end -}}

{{- /* The same with more annotations: (list <root> <annotations>). */ -}}
{{- define "space.metadataWith" -}}
{{- $root := first . -}}
{{- with merge (dict) (last . | default dict) ($root.Values.commonAnnotations | default dict) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{ end -}}
labels:
  {{- include "space.labels" $root | nindent 2 }}
{{- end -}}

{{- /* Go's soft memory limit: the container's limit in mebibytes, as megabytes. That is 95 % of it. */ -}}
{{- define "space.memoryLimit" -}}
- name: MEMORY_LIMIT_MIB
  valueFrom:
    resourceFieldRef:
      resource: limits.memory
      divisor: 1Mi
- name: GOMEMLIMIT
  value: $(MEMORY_LIMIT_MIB)000000
{{- end -}}

{{- /* A first part with a dot, a colon or the name localhost is a registry, as for container runtimes. */ -}}
{{- define "space.image" -}}
{{- with .Values.global.imageRegistry -}}
{{ . }}/{{ regexReplaceAll "^([^/]*[.:][^/]*|localhost)/" $.Values.image.repository "" }}
{{- else -}}
{{ .Values.image.repository }}
{{- end }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{- /* The chart's image pull secrets and those of all charts. The latter can be names or objects. */ -}}
{{- define "space.imagePullSecrets" -}}
{{- $secrets := .Values.imagePullSecrets -}}
{{- range .Values.global.imagePullSecrets }}
  {{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with $secrets }}{{ uniq . | toYaml }}{{ end }}
{{- end -}}

{{- /* Flags of all components, and those of the values, which take precedence: (list <root> <its values>). */ -}}
{{- define "space.commonArgs" -}}
- --v={{ (first .).Values.logVerbosity }}
- --logging-format={{ (first .).Values.logFormat }}
{{- range (last .).extraArgs }}
- {{ quote . }}
{{- end }}
{{- end -}}

{{- /* True on OpenShift, unless the values say otherwise. */ -}}
{{- define "space.openshift" -}}
{{- if eq (toString .Values.openshift.enabled) "auto" }}{{ .Capabilities.APIVersions.Has "security.openshift.io/v1" | ternary "true" "" }}
{{- else if eq (toString .Values.openshift.enabled) "true" }}true{{ end -}}
{{- end -}}

{{- /* OpenShift chooses the user of pods that may run with any user but root. */ -}}
{{- define "space.controllerSecurityContext" -}}
{{- $context := .Values.controller.podSecurityContext -}}
{{- if include "space.openshift" . }}{{ $context = omit $context "runAsUser" "runAsGroup" "fsGroup" }}{{ end -}}
{{ toYaml $context }}
{{- end -}}

{{- /* The pools per node, which the kubelet plugins publish. Empty without any. */ -}}
{{- define "space.poolsPerNode" -}}
{{- range .Values.pools }}{{ if .perNode }}{{ list . | toYaml }}{{ end }}{{ end -}}
{{- end -}}

{{- /* Annotations of objects that helm creates for an event: (list <event> <weight>). */ -}}
{{- define "space.hook" -}}
helm.sh/hook: {{ first . }}
helm.sh/hook-weight: {{ last . | quote }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{- define "space.controllerUser" -}}
system:serviceaccount:{{ include "space.namespace" . }}:{{ include "space.controllerServiceAccount" . }}
{{- end -}}

{{- define "space.kubeletpluginUser" -}}
system:serviceaccount:{{ include "space.namespace" . }}:{{ include "space.kubeletpluginServiceAccount" . }}
{{- end -}}

{{- /* The binding of an admission policy and the start of the policy: (list . <name>). */ -}}
{{- define "space.policy" -}}
{{- $ := index . 0 -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ index . 1 }}
  {{- include "space.metadata" $ | nindent 2 }}
spec:
  policyName: {{ index . 1 }}
  validationActions: ["Deny"]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ index . 1 }}
  {{- include "space.metadata" $ | nindent 2 }}
{{- end -}}

{{- /* Restricts a policy to requests of the controller. */ -}}
{{- define "space.byController" -}}
matchConditions:
  - name: controller
    expression: request.userInfo.username == '{{ include "space.controllerUser" . }}'
{{- end -}}

{{- /* True for an object in the namespace of a space. */ -}}
{{- define "space.inSpace" -}}
namespaceObject != null && '{{ .Values.driverName }}/claim-uid' in namespaceObject.metadata.?labels.orValue({})
{{- end -}}

{{- /* The Pod Security Standards that spaces can have: those of the values, and stricter ones. */ -}}
{{- define "space.podSecurityLevels" -}}
{{- $named := append .Values.space.allowedPodSecurity .Values.space.podSecurity -}}
{{- range append (.Values.deviceClasses | default list) .Values.defaultDeviceClass }}
  {{- $named = append $named (dig "config" "podSecurity" "enforce" "restricted" .) }}
{{- end -}}
{{- $levels := list "restricted" -}}
{{- if or (has "baseline" $named) (has "privileged" $named) }}{{ $levels = append $levels "baseline" }}{{ end -}}
{{- if has "privileged" $named }}{{ $levels = append $levels "privileged" }}{{ end -}}
{{- toJson $levels -}}
{{- end -}}

{{- /* Restricts a policy to spaces. */ -}}
{{- define "space.spaces" -}}
namespaceSelector:
  matchExpressions:
    - {key: {{ .Values.driverName }}/claim-uid, operator: Exists}
{{- end -}}

{{- /* True for users who may make the same request in all namespaces. Without a namespace, only
ClusterRoleBindings count: permissions inside of a space, which its tenants can grant, do not. */ -}}
{{- define "space.clusterWide" -}}
{'CREATE': ['create'], 'UPDATE': ['update', 'patch'], 'DELETE': ['delete']}[request.operation].exists(verb,
  authorizer.group(request.resource.group).resource(request.resource.resource).subresource(request.?subResource.orValue(''))
  .name(request.?name.orValue('')).check(verb).allowed())
{{- end -}}

{{- /* Excludes kubelets from a policy. */ -}}
{{- define "space.notNodes" -}}
- name: not-a-node
  expression: "!('system:nodes' in request.userInfo.?groups.orValue([]))"
{{- end -}}

{{- /* The audiences of the API server. Expressions cannot know them, so the controller records them. */ -}}
{{- define "space.tokenAudiences" -}}
- name: audiences
  expression: >-
    namespaceObject.metadata.?annotations[?'{{ .Values.driverName }}/token-audiences'].orValue('').split(',')
{{- end -}}

{{- /* 24 hours, the longest lifetime that service meshes and identity webhooks of clouds request by default. */ -}}
{{- define "space.maxTokenSeconds" -}}
86400
{{- end -}}

{{- /* Restricts a policy to spaces that do not allow nested spaces. */ -}}
{{- define "space.withoutNested" -}}
namespaceSelector:
  matchExpressions:
    - {key: {{ .Values.driverName }}/claim-uid, operator: Exists}
    - {key: {{ .Values.driverName }}/nested-spaces, operator: NotIn, values: [Allowed]}
{{- end -}}

{{- /* The known DeviceClasses of the driver, and the class of the space itself. */ -}}
{{- define "space.spaceClasses" -}}
{{- $classes := prepend .Values.space.deniedDeviceClasses .Values.driverName -}}
{{- range .Values.deviceClasses }}{{ $classes = append $classes .name }}{{ end -}}
- name: classes
  expression: >-
    {{ uniq $classes | toJson }} + [namespaceObject.metadata.?annotations[?'{{ .Values.driverName }}/device-class'].orValue('')]
{{- end -}}
