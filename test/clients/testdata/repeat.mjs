// Lists the ConfigMaps of a namespace every second, and prints a line for each request: ok, or what failed.
//
//   repeat.mjs NAMESPACE [KUBECONFIG [again]]
//
// Without a kubeconfig, it uses the in-cluster configuration. It has one client, or with "again" loads the
// kubeconfig before each request.
import { setTimeout } from "node:timers/promises";
import * as k8s from "@kubernetes/client-node";

const [namespace, kubeconfig, again] = process.argv.slice(2);

function load() {
  const config = new k8s.KubeConfig();
  if (kubeconfig) {
    config.loadFromFile(kubeconfig);
  } else {
    config.loadFromCluster();
  }
  return config.makeApiClient(k8s.CoreV1Api);
}

let core = load();
while (true) {
  try {
    if (again) {
      core = load();
    }
    await core.listNamespacedConfigMap({ namespace, limit: 1 });
    console.log("ok");
  } catch (err) {
    console.log("failed:", JSON.stringify(String(err)));
  }
  await setTimeout(1000);
}
