//! A network on loopback that takes its time, or drops everything without a word.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// In the place of a delay: nothing arrives, until it does again, as TCP would have it.
const CUT: u64 = u64::MAX;

/// Carries bytes to a port of loopback and back until the test's process ends.
pub struct Wire {
    pub port: u16,
    delay_ms: Arc<AtomicU64>,
}

impl Wire {
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let delay_ms = Arc::new(AtomicU64::new(0));
        let of_threads = Arc::clone(&delay_ms);
        spawn(move || {
            for near in listener.incoming().flatten() {
                let delay_ms = Arc::clone(&of_threads);
                spawn(move || connect(&near, target, &delay_ms));
            }
        });
        Self { port, delay_ms }
    }

    /// Answers arrive so much later from now on.
    pub fn delay(&self, ms: u64) {
        self.delay_ms.store(ms, Ordering::Relaxed);
    }

    /// Nothing arrives from now on, or does again.
    pub fn cut(&self, is_cut: bool) {
        self.delay(if is_cut { CUT } else { 0 });
    }
}

fn connect(near: &TcpStream, target: u16, delay_ms: &Arc<AtomicU64>) {
    wait(delay_ms, 0);
    let far = TcpStream::connect(("127.0.0.1", target));
    let Ok(far) = far else {
        // As if nobody listened.
        let _ = near.shutdown(Shutdown::Both);
        return;
    };
    let (near_in, far_in) =
        (near.try_clone().expect("a handle"), far.try_clone().expect("a handle"));
    let (near_out, far_out) = (near.try_clone().expect("a handle"), far);
    let of_requests = Arc::clone(delay_ms);
    spawn(move || carry(near_in, far_out, &of_requests, false));
    carry(far_in, near_out, delay_ms, true);
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicU64, is_slow: bool) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        wait(delay_ms, u64::from(is_slow));
        if to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}

/// Waits while the wire is cut, then `times` its delay.
fn wait(delay_ms: &AtomicU64, times: u64) {
    loop {
        match delay_ms.load(Ordering::Relaxed) {
            CUT => sleep(Duration::from_millis(5)),
            ms => return sleep(Duration::from_millis(ms * times)),
        }
    }
}
