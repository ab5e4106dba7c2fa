"""Lists the ConfigMaps of a namespace every second, and prints a line for each request: ok, or what failed.

repeat.py NAMESPACE [KUBECONFIG [again]]

Without a kubeconfig, it uses the in-cluster configuration. It has one client, or with "again" loads the
kubeconfig before each request.
"""

import sys
import time

from kubernetes import client, config

namespace, kubeconfig, again = (sys.argv[1:] + [None, None])[:3]


def load():
    if kubeconfig:
        config.load_kube_config(kubeconfig)
    else:
        config.load_incluster_config()
    return client.CoreV1Api()


core = load()
while True:
    try:
        if again:
            core = load()
        core.list_namespaced_config_map(namespace, limit=1, _request_timeout=10)
        print("ok", flush=True)
    except Exception as err:
        print("failed:", repr(str(err)), flush=True)
    time.sleep(1)
