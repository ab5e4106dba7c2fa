// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command in-cluster-client uses client-go's in-cluster configuration, as programs without knowledge of
// spaces do. It creates a ConfigMap in its namespace, and lists all. It is part of the toolbox image.
package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	namespace, err := os.ReadFile(namespaceFile)
	if err != nil {
		return fmt.Errorf("read the namespace: %w", err)
	}
	configMaps := client.CoreV1().ConfigMaps(string(namespace))
	created, err := configMaps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "from-client-go"}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create a ConfigMap: %w", err)
	}
	all, err := configMaps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list ConfigMaps: %w", err)
	}
	fmt.Printf("created ConfigMap %s in namespace %s, which now has %d\n", created.Name, created.Namespace, len(all.Items))
	return nil
}
