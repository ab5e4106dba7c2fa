// Copyright The Space DRA Driver Authors.
// SPDX-License-Identifier: Apache-2.0

// Command repeat-client lists the ConfigMaps of a namespace every second with one client of client-go, and
// prints a line for each request: ok, or what failed. It is part of the toolbox image.
//
//	repeat-client NAMESPACE [KUBECONFIG]
//
// Without a kubeconfig, it uses the in-cluster configuration.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	if err := run(context.Background(), os.Args[1], strings.Join(os.Args[2:], "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, namespace, kubeconfig string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	for range time.Tick(time.Second) {
		if _, err := client.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{Limit: 1}); err != nil {
			fmt.Printf("failed: %q\n", err)
		} else {
			fmt.Println("ok")
		}
	}
	return nil
}
