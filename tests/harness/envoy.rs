//! Envoy with the module, on one of the example configurations.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::process::Process;
use super::scene::no_ids;
use super::{Client, Scene, eventually, root, target};

/// The module, in the target folder.
const MODULE: &str = "wasm32-wasip1/release/tiercel.wasm";

/// What Envoy's log says of a trap, and the module of a panic.
const TRAPS: [&str; 3] = ["Uncaught ", "panicked at", "wasm trap"];

pub struct Envoy {
    pub port: u16,
    pub process: Process,
    pub admin: u16,
    listeners: Option<PathBuf>,
    clock: Option<PathBuf>,
    /// Whether it has a filter of ours: a plain proxy has no VM.
    has_vms: bool,
    /// How many of its VMs are to crash.
    crashes: usize,
}

/// What to start.
pub struct Builder {
    example: &'static str,
    config: Value,
    workers: u32,
    reloadable: bool,
    own_clock: bool,
    crashes: usize,
    module: &'static str,
}

impl Envoy {
    /// Starts from the example configuration `envoy/<example>`, with the time-outs of the way to
    /// Redis so long, and without health checks, that a machine which stalls turns no hit into a miss; and
    /// without lists of ids, which the origin would be asked for.
    pub fn builder(example: &'static str) -> Builder {
        let mut builder = Self::shipped(example);
        for cluster in builder.config["static_resources"]["clusters"].as_array_mut().unwrap() {
            cluster["connect_timeout"] = json!("20s");
            cluster.as_object_mut().map(|cluster| cluster.remove("health_checks"));
        }
        for listener in builder.config["static_resources"]["listeners"].as_array_mut().unwrap() {
            let filter = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            if filter["settings"]["op_timeout"].is_string() {
                filter["settings"]["op_timeout"] = json!("20s");
            }
        }
        builder
            .config(|config| {
                if config["l2"].is_object() {
                    config["l2"]["timeout"] = json!("10s");
                    config["l2"]["health"]["slow_above"] = json!("10s");
                }
            })
            .config(no_ids)
    }

    /// Starts from the example configuration `envoy/<example>` as it is.
    pub fn shipped(example: &'static str) -> Builder {
        let text = fs::read_to_string(root().join("envoy").join(example)).expect("an example");
        let mut config: Value = serde_norway::from_str(&text).expect("YAML");
        let socket = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        config["admin"]["address"] = socket.clone();
        for listener in config["static_resources"]["listeners"].as_array_mut().expect("listeners") {
            if listener["address"]["socket_address"].is_object() {
                listener["address"] = socket.clone();
            }
        }
        Builder {
            example,
            config,
            workers: 1,
            reloadable: false,
            own_clock: false,
            crashes: 0,
            module: MODULE,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.port)
    }

    /// A counter or gauge under its Prometheus name: `tiercel_requests{outcome="l1_hit"}`.
    pub fn metric(&self, name: &str) -> u64 {
        let text = Client::new(self.admin).get("/stats/prometheus").body;
        let text = String::from_utf8(text).expect("text");
        let wanted = if name.contains('{') { name.to_owned() } else { format!("{name}{{}}") };
        let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    }

    /// Waits until a metric, which workers hand over at ticks, has a value.
    pub fn expect_metric(&self, name: &str, value: u64) {
        eventually(&format!("{name} to be {value}"), || (self.metric(name) == value).then_some(()));
    }

    /// Sets the clock of an Envoy that has its own, by so many seconds from the true time.
    pub fn set_clock(&self, seconds: i64) {
        let path = self.clock.as_ref().expect("a clock of its own");
        // In place: Envoy has the file mapped.
        let mut file = File::options().write(true).open(path).expect("a clock");
        file.write_all(&seconds.to_ne_bytes()).expect("a clock that can be set");
    }

    /// How often a VM was to be replaced that had crashed. Envoy finds that out at the next request.
    fn reloads(&self) -> usize {
        let request = |path| Client::new(self.admin).try_request("GET", path, &[], b"");
        let stats = request(b"/stats?filter=vm_reload_(success|failure)").expect("Envoy's stats");
        let stats = String::from_utf8(stats.body).expect("text");
        assert!(stats.contains("vm_reload_success"), "no such counter: {stats}");
        let values =
            stats.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        values.sum()
    }

    /// Waits until the log has a line with `text`.
    pub fn expect_log(&self, text: &str) {
        eventually(&format!("the log to say {text:?}"), || {
            self.process.log().contains(text).then_some(())
        });
    }

    /// Changes the plugin configuration of a reloadable Envoy and moves its file in place.
    pub fn reload(&self, change: impl FnOnce(&mut Value)) {
        let path = self.listeners.as_ref().expect("a reloadable Envoy");
        let text = fs::read_to_string(path).expect("the listeners");
        let mut listeners: Value = serde_json::from_str(&text).expect("JSON");
        change(cache_config(listeners["resources"].as_array_mut().expect("listeners")));
        replace(path, &listeners.to_string());
    }

    /// Gives every filter of a reloadable Envoy a new VM.
    pub fn renew_vms(&self) {
        let path = self.listeners.as_ref().expect("a reloadable Envoy");
        let text = fs::read_to_string(path).expect("the listeners");
        let mut listeners: Value = serde_json::from_str(&text).expect("JSON");
        renew(&mut listeners["resources"]);
        replace(path, &listeners.to_string());
    }
}

/// A trap costs a worker all that it has, and its clients just see misses: it fails the test, as an Envoy does that
/// ended by itself.
impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if !self.process.was_ended() {
            assert!(self.process.runs(), "Envoy ended by itself");
            let counts = self.has_vms && self.crashes == 0;
            assert!(!counts || self.reloads() == 0, "{} new VMs", self.reloads());
            self.process.kill();
        }
        let log = self.process.log();
        // One that is to crash may say why before.
        let texts = if self.crashes > 0 { &TRAPS[..1] } else { &TRAPS[..] };
        let is_trap = |line: &&str| texts.iter().any(|text| line.contains(text));
        let traps: Vec<_> = log.lines().filter(is_trap).collect();
        assert_eq!(traps.len(), self.crashes, "{traps:#?}");
    }
}

/// Changes the configuration of every VM in it.
fn renew(node: &mut Value) {
    match node {
        Value::Object(members) => {
            if let Some(vm) = members.get_mut("vm_config") {
                vm["configuration"] = json!({
                    "@type": "type.googleapis.com/google.protobuf.StringValue",
                    "value": "renewed",
                });
            }
            members.values_mut().for_each(renew);
        }
        Value::Array(items) => items.iter_mut().for_each(renew),
        _ => {}
    }
}

impl Builder {
    pub fn origin(self, port: u16) -> Self {
        self.endpoint("origin", port)
    }

    pub fn redis(self, port: u16) -> Self {
        self.endpoint("redis", port)
    }

    /// Sets the port of every endpoint of a cluster.
    fn endpoint(mut self, cluster: &str, port: u16) -> Self {
        let clusters = self.config["static_resources"]["clusters"].as_array_mut().unwrap();
        let found = clusters.iter_mut().find(|c| c["name"] == cluster);
        let found = found.unwrap_or_else(|| panic!("no cluster {cluster} in {}", self.example));
        let groups = found["load_assignment"]["endpoints"].as_array_mut().unwrap();
        for endpoint in groups.iter_mut().flat_map(|g| g["lb_endpoints"].as_array_mut().unwrap()) {
            endpoint["endpoint"]["address"]["socket_address"]["port_value"] = port.into();
        }
        self
    }

    /// Changes the plugin configuration of the public listener.
    pub fn config(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let listeners = self.config["static_resources"]["listeners"].as_array_mut().unwrap();
        change(cache_config(listeners));
        self
    }

    /// Changes the whole Envoy configuration.
    pub fn envoy(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// The longest that Envoy waits for the origin: `0.5s`.
    pub fn route_timeout(self, timeout: &str) -> Self {
        self.envoy(|config| {
            let listeners = config["static_resources"]["listeners"].as_array_mut();
            let public = listeners.into_iter().flatten().find(|l| l["name"] == "public");
            let filters = &mut public.expect("a public listener")["filter_chains"][0]["filters"];
            let hosts = &mut filters[0]["typed_config"]["route_config"]["virtual_hosts"];
            for route in hosts[0]["routes"].as_array_mut().expect("routes") {
                route["route"]["timeout"] = timeout.into();
            }
        })
    }

    pub fn workers(mut self, workers: u32) -> Self {
        self.workers = workers;
        self
    }

    /// Serves the listeners from a file that Envoy watches.
    pub fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    /// Gives Envoy a wall clock that can be set; its other clocks go on.
    pub fn own_clock(mut self) -> Self {
        self.own_clock = true;
        self
    }

    /// Takes the module that ends a VM by a request with a field `x-test-trap`, which the test does so often.
    pub fn with_trap(mut self, crashes: usize) -> Self {
        self.crashes = crashes;
        self.module = "trap/wasm32-wasip1/release/tiercel.wasm";
        self
    }

    pub fn start(self, scene: &Scene) -> Envoy {
        let mut envoy = self.launch(scene);
        envoy.port = eventually("Envoy to listen", || {
            assert!(envoy.process.runs(), "Envoy ended");
            let listeners = Client::new(envoy.admin).get("/listeners?format=json").json();
            let statuses = listeners["listener_statuses"].as_array()?.clone();
            let public = statuses.iter().find(|l| l["name"] == "public")?;
            let port = public["local_address"]["socket_address"]["port_value"].as_u64()?;
            let ready = Client::new(envoy.admin).get("/ready").status == 200;
            u16::try_from(port).ok().filter(|port| ready && *port > 0)
        });
        envoy
    }

    /// Starts Envoy and waits only for its admin interface.
    fn launch(mut self, scene: &Scene) -> Envoy {
        let module = target().join(self.module);
        assert!(module.exists(), "{} is missing: run `make e2e`", module.display());
        let name = scene.unique("envoy");
        let text = self.config.to_string();
        let text = text.replace(&format!("target/{MODULE}"), &module.to_string_lossy());
        self.config = serde_json::from_str(&text).expect("still JSON");
        let has_vms = text.contains("envoy.extensions.filters.http.wasm");

        let listeners = self.reloadable.then(|| {
            let path = scene.dir.join(format!("{name}-listeners.json"));
            let mut all = self.config["static_resources"]["listeners"].take();
            for listener in all.as_array_mut().expect("listeners") {
                listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
            }
            fs::write(&path, json!({"resources": all}).to_string()).expect("a file");
            self.config["static_resources"]["listeners"] = json!([]);
            self.config["dynamic_resources"] = json!({"lds_config": {
                "resource_api_version": "V3", "path_config_source": {"path": path},
            }});
            path
        });
        self.config["node"] = json!({"id": name, "cluster": "tests"});
        let path = scene.dir.join(format!("{name}.json"));
        fs::write(&path, self.config.to_string()).expect("a file");

        let admin_file = scene.dir.join(format!("{name}.admin"));
        let mut command = Command::new(envoy_program());
        command.arg("-c").arg(&path).arg("--admin-address-path").arg(&admin_file);
        command.args(["--concurrency", &self.workers.to_string(), "--disable-hot-restart"]);
        command.args(["-l", "info", "--component-log-level", "main:warning,upstream:warning"]);
        let clock = self.own_clock.then(|| {
            let path = scene.dir.join(format!("{name}.clock"));
            fs::write(&path, 0_i64.to_ne_bytes()).expect("a file");
            command.env("LD_PRELOAD", clock_library(&scene.dir)).env("TEST_CLOCK", &path);
            path
        });
        let process = Process::start(&name, &scene.dir, &mut command);
        let admin = eventually("Envoy's admin interface", || {
            let text = fs::read_to_string(&admin_file).ok()?;
            text.rsplit(':').next()?.trim().parse().ok()
        });
        Envoy { port: 0, process, admin, listeners, clock, has_vms, crashes: self.crashes }
    }

    /// Starts Envoy in the expectation that it ends for its configuration; what it said.
    pub fn refused(self, scene: &Scene) -> String {
        let mut envoy = self.launch(scene);
        eventually("Envoy to refuse its configuration", || (!envoy.process.runs()).then_some(()));
        envoy.process.kill();
        envoy.process.log()
    }
}

/// The binary that `make setup` installed, or any on the path.
fn envoy_program() -> PathBuf {
    let installed = super::root().join(".tools/venv/bin/envoy");
    if installed.exists() { installed } else { "envoy".into() }
}

/// Builds the library that answers for the clock.
fn clock_library(dir: &Path) -> PathBuf {
    let (source, library) = (super::root().join("tests/harness/clock.c"), dir.join("clock.so"));
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
    let status = compiler.status().expect("cc is missing: run `make setup`");
    assert!(status.success(), "{} does not compile", source.display());
    library
}

/// Puts a file in the place of another at once.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).expect("a file");
    fs::rename(next, path).expect("the file in place");
}

/// The plugin configuration of the public listener's cache.
fn cache_config(listeners: &mut [Value]) -> &mut Value {
    let public = listeners.iter_mut().find(|l| l["name"] == "public").expect("a public listener");
    let filters = &mut public["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"];
    let tiercel = filters.as_array_mut().unwrap().iter_mut().find(|f| f["name"] == "tiercel");
    &mut tiercel.expect("the tiercel filter")["typed_config"]["config"]["configuration"]["value"]
}
