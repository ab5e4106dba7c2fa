// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"path/filepath"
	"sync"

	resourceapi "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/dynamic-resource-allocation/api/metadata"
	"k8s.io/dynamic-resource-allocation/api/metadata/install"
	metadatav1alpha1 "k8s.io/dynamic-resource-allocation/api/metadata/v1alpha1"
	metadatav1beta1 "k8s.io/dynamic-resource-allocation/api/metadata/v1beta1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/utils/ptr"

	"github.com/space-dra/space-dra-driver/pkg/space/containeredits"
	"github.com/space-dra/space-dra-driver/pkg/space/staging"
)

// Containers find the metadata of devices in a format, and at paths, that are the same for all
// drivers (KEP-5304). The plugin writes them in the claim's directory, so that they are created,
// replaced, restored and removed with it. kubeletplugin.EnableDeviceMetadata writes such files, too,
// but does not restore them, and does not clean up after a process that was killed.

// deviceMetadataDir is the subdirectory of a claim with the metadata of its devices.
const deviceMetadataDir = "device-metadata"

// deviceMetadataFile returns the file with the metadata of the devices of a request.
func deviceMetadataFile(request string) string {
	return filepath.Join(deviceMetadataDir, resourceclaim.BaseRequestRef(request)+".json")
}

// deviceMetadataOf returns a file for each request of a claim.
func deviceMetadataOf(prepared preparedClaim, driver, server string) []staging.File {
	var files []staging.File
	byFile := map[string]*metadata.DeviceMetadata{}
	for _, space := range prepared.Spaces {
		if space.Request == "" {
			continue
		}
		path := deviceMetadataFile(space.Request)
		if byFile[path] == nil {
			byFile[path] = &metadata.DeviceMetadata{
				ObjectMeta: metav1.ObjectMeta{Namespace: prepared.Namespace, Name: prepared.Name, UID: prepared.UID, Generation: 1},
				Requests:   []metadata.DeviceMetadataRequest{{Name: space.Request}},
			}
			if prepared.PodClaimName != "" {
				byFile[path].PodClaimName = ptr.To(prepared.PodClaimName)
			}
			files = append(files, staging.File{Path: path, Mode: credentialsFileMode})
		}
		devices := &byFile[path].Requests[0].Devices
		*devices = append(*devices, metadata.Device{Driver: driver, Pool: space.Pool, Name: space.Device, Attributes: attributesOf(space, server)})
	}
	for i := range files {
		files[i].Content = encodeDeviceMetadata(byFile[files[i].Path])
	}
	return files
}

// attributesOf returns the attributes by which programs in containers find a space. Values that are
// too long for attributes are omitted.
func attributesOf(space preparedSpace, server string) map[resourceapi.QualifiedName]resourceapi.DeviceAttribute {
	out := map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}
	for name, value := range map[resourceapi.QualifiedName]string{
		"namespace":  space.Namespace,
		"server":     server,
		"directory":  space.ContainerDir,
		"kubeconfig": filepath.Join(space.ContainerDir, containeredits.KubeconfigFile),
	} {
		if len(value) <= resourceapi.DeviceAttributeMaxValueLength {
			out[name] = resourceapi.DeviceAttribute{StringValue: ptr.To(value)}
		}
	}
	return out
}

// deviceMetadataEncoders are those of all versions of the format, the newest first: programs take the
// first version that they know.
var deviceMetadataEncoders = sync.OnceValue(func() (encoders []runtime.Encoder) {
	scheme := install.NewScheme()
	format := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Pretty: true})
	for _, version := range []schema.GroupVersion{metadatav1beta1.SchemeGroupVersion, metadatav1alpha1.SchemeGroupVersion} {
		encoders = append(encoders, serializer.NewCodecFactory(scheme).EncoderForVersion(format, version))
	}
	return encoders
})

// encodeDeviceMetadata returns the object once in each version of the format.
func encodeDeviceMetadata(object *metadata.DeviceMetadata) []byte {
	var out bytes.Buffer
	for _, encoder := range deviceMetadataEncoders() {
		utilruntime.Must(encoder.Encode(object, &out))
	}
	return out.Bytes()
}
