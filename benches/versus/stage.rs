//! Everything that runs while the cases are measured.

use std::collections::BTreeMap;

use crate::cases::{Case, Server};
use crate::check;
use crate::envoy;
use crate::harness::{Envoy, Redis, Scene};
use crate::lists::Lists;
use crate::peers::Peer;
use crate::processor::{AROUND, TESTED, pin, time_us};
use crate::report::Results;
use crate::wrk::{Load, Wrk};

/// The programs, all started, all on their cores.
pub struct Stage {
    wrk: Wrk,
    pub envoy: Envoy,
    pub redis: Redis,
    /// Tiercel's counters before the load.
    before: BTreeMap<&'static str, u64>,
    nginx: Option<Peer>,
    varnish: Option<Peer>,
    _origin: Peer,
}

/// One run of one case.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub load: Load,
    /// Processor time of the program under test, per request.
    pub cpu_us: f64,
}

impl Stage {
    /// Starts what the cases need, and makes sure that each answers what it should.
    pub fn set(cases: &[&Case]) -> Self {
        let scene = Scene::new("versus");
        let origin = Peer::origin(&scene);
        // Should it ever be full, what `miss_fill_l2` wrote goes first: its TTL is the shorter.
        let redis = ["--maxmemory", "1gb", "--maxmemory-policy", "volatile-ttl"];
        let redis = Redis::start(&scene, &redis);
        pin(redis.process.pid(), AROUND);
        let lists = Lists::start(envoy::IDS, 10_000);
        let envoy = envoy::start(&scene, origin.port, redis.port, lists.script.port);
        pin(envoy.process.pid(), TESTED);
        check::refusing(&envoy);
        let needed = |server| cases.iter().any(|case| case.server == server);
        let mut stage = Self {
            before: BTreeMap::new(),
            wrk: Wrk::new(&scene),
            envoy,
            redis,
            nginx: needed(Server::Nginx).then(|| Peer::nginx_cache(&scene, origin.port)),
            varnish: needed(Server::Varnish).then(|| Peer::varnish(&scene, origin.port)),
            _origin: origin,
        };
        for case in cases {
            check::answers(&stage, case);
        }
        stage.before = check::outcomes(&stage.envoy);
        stage
    }

    /// Puts a case under load.
    pub fn measure(&self, case: &Case, seconds: u32) -> Sample {
        let (pid, port) = (self.pid(case), self.port(case));
        let before = time_us(pid);
        let load = self.wrk.run(case, port, seconds);
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let cpu_us = (time_us(pid) - before) / load.requests.max(1) as f64;
        Sample { load, cpu_us }
    }

    /// Says whether what was counted afterwards fits what was asked.
    pub fn verify(&self, results: &Results) {
        check::counted(self, &self.before, results);
    }

    pub fn port(&self, case: &Case) -> u16 {
        match case.server {
            Server::Envoy(listener) => envoy::port(&self.envoy, listener),
            Server::Nginx => self.nginx.as_ref().expect("nginx").port,
            Server::Varnish => self.varnish.as_ref().expect("Varnish").port,
        }
    }

    fn pid(&self, case: &Case) -> u32 {
        match case.server {
            Server::Envoy(_) => self.envoy.process.pid(),
            Server::Nginx => self.nginx.as_ref().expect("nginx").process.pid(),
            Server::Varnish => self.varnish.as_ref().expect("Varnish").process.pid(),
        }
    }
}
