//! Everybody who asks the API server for something, each with a real token: two agents, the controllers, a tenant,
//! operators.

use std::sync::OnceLock;

use kilonova_crds::names::{LEADER_ANNOTATION, node_namespace};
use kilonova_e2e::lab::Lab;
use serde_json::{Value, json};

use crate::api_common::{Asker, lab, shared};

/// The node namespace of `node-1`.
pub const NAMESPACE_1: &str = "kilonova-node-node-1";
/// The node namespace of `node-2`.
pub const NAMESPACE_2: &str = "kilonova-node-node-2";
/// Where the release is.
const SYSTEM: &str = "kilonova-system";
/// Where the agents' pods are.
const AGENTS: &str = "kilonova-agents";

/// Tokens. Clients are made in each test, because a client belongs to a runtime.
pub struct World {
    lab: &'static Lab,
    agent: String,
    agent_in_a_pod: String,
    agent_without_node: String,
    node: String,
    controllers: String,
    tenant: String,
    maker: String,
    operator: String,
    repairer: String,
}

/// The world of this program.
pub fn world() -> &'static World {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    let lab = lab();
    shared(&WORLD, || World::make(lab))
}

impl World {
    async fn make(lab: &'static Lab) -> Self {
        let admin = Asker(lab.client().await.unwrap());
        let mut uids = Vec::new();
        for node in ["node-1", "node-2"] {
            let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}});
            let node = admin.post("/api/v1/nodes", &object).await.unwrap();
            uids.push(node["metadata"]["uid"].clone());
        }
        let bound = |kind: &str, name: &str, uid: &Value| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": uid});
        let pod = admin
            .post(&format!("/api/v1/namespaces/{AGENTS}/pods"), &agent_pod())
            .await
            .unwrap();
        let controllers = token(&admin, SYSTEM, "kilonova-controllers", Value::Null).await;
        let agent = token(
            &admin,
            AGENTS,
            "kilonova-agent",
            bound("Node", "node-1", &uids[0]),
        )
        .await;
        make_node_namespaces(&Asker(lab.client_with_token(&controllers).await.unwrap())).await;
        make_people(&admin).await;
        let as_agent = Asker(lab.client_with_token(&agent).await.unwrap());
        Self {
            lab,
            agent_in_a_pod: token(
                &admin,
                AGENTS,
                "kilonova-agent",
                bound("Pod", "agent", &pod["metadata"]["uid"]),
            )
            .await,
            agent_without_node: token(&admin, AGENTS, "kilonova-agent", Value::Null).await,
            node: token(&as_agent, NAMESPACE_1, "kilonova-node", Value::Null).await,
            tenant: token(&admin, "shop", "tenant", Value::Null).await,
            maker: token(&admin, "shop", "maker", Value::Null).await,
            operator: token(&admin, SYSTEM, "operator", Value::Null).await,
            repairer: token(&admin, SYSTEM, "repairer", Value::Null).await,
            agent,
            controllers,
        }
    }

    async fn with(&self, token: &str) -> Asker {
        Asker(self.lab.client_with_token(token).await.unwrap())
    }
    /// A cluster-admin.
    pub async fn admin(&self) -> Asker {
        Asker(self.lab.client().await.unwrap())
    }
    /// The agent on `node-1`, with the token of its `ServiceAccount` bound to the Node.
    pub async fn agent(&self) -> Asker {
        self.with(&self.agent).await
    }
    /// The same, its token bound to a pod on the Node: as a `DaemonSet` has it.
    pub async fn agent_in_a_pod(&self) -> Asker {
        self.with(&self.agent_in_a_pod).await
    }
    /// A token of the agent's `ServiceAccount` that is bound to nothing.
    pub async fn agent_without_node(&self) -> Asker {
        self.with(&self.agent_without_node).await
    }
    /// The agent on `node-1`, with the token of its node namespace.
    pub async fn node(&self) -> Asker {
        self.with(&self.node).await
    }
    /// The controllers.
    pub async fn controllers(&self) -> Asker {
        self.with(&self.controllers).await
    }
    /// Somebody with a Role of nothing but stars in the namespace `shop`.
    pub async fn tenant(&self) -> Asker {
        self.with(&self.tenant).await
    }
    /// Somebody with nothing in the namespace `shop` but `kilonova-edit`, and sight of the Secret `first-boot`.
    pub async fn maker(&self) -> Asker {
        self.with(&self.maker).await
    }
    /// Somebody with every right on our objects and on namespaces, but not the override.
    pub async fn operator(&self) -> Asker {
        self.with(&self.operator).await
    }
    /// The same, with the override.
    pub async fn repairer(&self) -> Asker {
        self.with(&self.repairer).await
    }
}

/// A request for a token.
pub fn token_request() -> Value {
    json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}})
}

/// A Hypervisor.
pub fn hypervisor(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "kilonova.dev/v1alpha1", "kind": "Hypervisor", "metadata": {"name": name}, "spec": spec})
}

/// An object as the leader under this transition of the Lease writes it.
pub fn fenced(mut object: Value, transition: &str) -> Value {
    object["metadata"]["annotations"] = json!({LEADER_ANNOTATION: transition});
    object
}

async fn token(client: &Asker, namespace: &str, account: &str, bound: Value) -> String {
    let mut request = token_request();
    if !bound.is_null() {
        request["spec"]["boundObjectRef"] = bound;
    }
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let answer = client.post(&path, &request).await.unwrap();
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn agent_pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent"},
        "spec": {"nodeName": "node-1", "serviceAccountName": "kilonova-agent", "containers": [{"name": "agent", "image": "agent"}]},
    })
}

/// What the controllers make for each node, made by their own token.
async fn make_node_namespaces(controllers: &Asker) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "kilonova-controllers"},
        "spec": {"holderIdentity": "test", "leaseTransitions": 7}});
    controllers
        .post(
            &format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases"),
            &lease,
        )
        .await
        .unwrap();
    for node in ["node-1", "node-2"] {
        let name = node_namespace(node);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"kilonova.dev/node-namespace": ""},
            "annotations": {"kilonova.dev/node": node, "kilonova.dev/cluster-id": "test"}}});
        controllers
            .post("/api/v1/namespaces", &namespace)
            .await
            .unwrap();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "kilonova-node"}});
        controllers
            .post(
                &format!("/api/v1/namespaces/{name}/serviceaccounts"),
                &account,
            )
            .await
            .unwrap();
        let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{name}/rolebindings");
        controllers
            .post(&path, &role_binding("kilonova-node", &name))
            .await
            .unwrap();
    }
}

/// The `RoleBinding` of a node namespace.
pub fn role_binding(account: &str, namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "kilonova-node"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kilonova-node"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    })
}

async fn make_people(admin: &Asker) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    admin.post("/api/v1/namespaces", &namespace).await.unwrap();
    for (namespace, name) in [
        ("shop", "tenant"),
        ("shop", "maker"),
        ("shop", "kilonova-node"),
        (SYSTEM, "operator"),
        (SYSTEM, "repairer"),
    ] {
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        admin
            .post(
                &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
                &account,
            )
            .await
            .unwrap();
    }
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let object = |kind: &str, name: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
    let mut role = object("Role", "stars");
    role["rules"] = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let mut boot = object("Role", "first-boot");
    boot["rules"] = json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["first-boot"], "verbs": ["get"]}]);
    for role in [role, boot] {
        let path = format!("{rbac}/namespaces/shop/roles");
        admin.post(&path, &role).await.unwrap();
    }
    let bind = |kind: &str, name: &str, role: (&str, &str), accounts: &[(&str, &str)]| {
        let mut binding = object(kind, name);
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": role.0, "name": role.1});
        let subject = |(namespace, name): &(&str, &str)| json!({"kind": "ServiceAccount", "namespace": namespace, "name": name});
        binding["subjects"] = accounts.iter().map(subject).collect();
        binding
    };
    for (name, role, account) in [
        ("stars", ("Role", "stars"), "tenant"),
        ("maker", ("ClusterRole", "kilonova-edit"), "maker"),
        ("first-boot", ("Role", "first-boot"), "maker"),
    ] {
        let binding = bind("RoleBinding", name, role, &[("shop", account)]);
        let path = format!("{rbac}/namespaces/shop/rolebindings");
        admin.post(&path, &binding).await.unwrap();
    }
    let mut role = object("ClusterRole", "test-operator");
    role["rules"] = json!([
        {"apiGroups": ["kilonova.dev", "node.kilonova.dev"], "verbs": ["*"], "resources":
            ["instances", "instances/status", "hypervisors", "hypervisors/status", "domains", "domains/status", "segments", "segments/status"]},
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]},
    ]);
    admin
        .post(&format!("{rbac}/clusterroles"), &role)
        .await
        .unwrap();
    let operators = [(SYSTEM, "operator"), (SYSTEM, "repairer")];
    for (name, role, accounts) in [
        ("test-operator", "test-operator", &operators[..]),
        ("test-override", "kilonova-override", &operators[1..]),
    ] {
        let binding = bind("ClusterRoleBinding", name, ("ClusterRole", role), accounts);
        admin
            .post(&format!("{rbac}/clusterrolebindings"), &binding)
            .await
            .unwrap();
    }
}
