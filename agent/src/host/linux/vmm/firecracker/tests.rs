//! The requests as the API gets them, and what becomes of its answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Empty;
use http_body_util::combinators::BoxBody;
use hyper::service::service_fn;
use parking_lot::Mutex;
use tokio::net::UnixListener;

use super::*;
use crate::host::linux::files::beneath::{Root, Roots};
use crate::host::{Drive, NetInterface, PathPart, RateLimit};

fn id() -> JailId {
    JailId::new("jail-1").unwrap()
}

fn part(text: &str) -> PathPart {
    PathPart::new(text).unwrap()
}

pub(crate) fn config() -> VmmConfig {
    VmmConfig {
        vcpus: 2,
        memory_mib: 256,
        kernel: part("kernel"),
        initrd: Some(part("initrd")),
        boot_args: "console=ttyS0 reboot=k panic=1".to_owned(),
        drives: vec![
            Drive {
                id: "rootfs",
                name: part("rootfs"),
                root: true,
                read_only: false,
                limit: RateLimit { bytes_per_second: 1_000_000, ops_per_second: 0 },
            },
            Drive {
                id: "work",
                name: part("work"),
                root: false,
                read_only: false,
                limit: RateLimit::default(),
            },
        ],
        interface: Some(NetInterface {
            tap: "bg-aaaaaaaaaaaa".parse().unwrap(),
            mac: "02:fc:0a:40:00:02".parse().unwrap(),
            receive: RateLimit::default(),
            send: RateLimit { bytes_per_second: 0, ops_per_second: 500 },
        }),
        vsock_cid: Some(5),
        metadata_json: Some(r#"{"name":"a"}"#.to_owned()),
    }
}

struct Api {
    temp: tempfile::TempDir,
    api: FirecrackerApi,
}

fn api(limit: Duration) -> Api {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| Root::open(&temp.path().join(name)).unwrap();
    let roots = Arc::new(Roots { images: at("images"), scratch: at("vms") });
    let tree = JailTree::new(at("jails"), at("run"), roots, None);
    std::fs::create_dir_all(temp.path().join("jails/firecracker/jail-1/root/run")).unwrap();
    Api { api: FirecrackerApi::new(Arc::new(tree), limit), temp }
}

type Answer = (u16, &'static str);

impl Api {
    fn socket(&self) -> std::path::PathBuf {
        self.temp.path().join("jails/firecracker/jail-1/root/run/firecracker.socket")
    }

    /// Serves with a function from the number of the request to an answer; writes requests down.
    fn serve(
        &self,
        answer: impl Fn(usize) -> Answer + Send + Sync + 'static,
    ) -> Arc<Mutex<String>> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let seen = Arc::new(Mutex::new(String::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        let count = Arc::new(AtomicUsize::new(0));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer, count) = (log.clone(), answer.clone(), count.clone());
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (log, answer, count) = (log.clone(), answer.clone(), count.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let text = String::from_utf8_lossy(&body).into_owned();
                        log.lock().push_str(&format!("{} {} {text}\n", head.method, head.uri));
                        let (status, text) = answer(count.fetch_add(1, Ordering::Relaxed));
                        let body: BoxBody<Bytes, std::convert::Infallible> = if text.is_empty() {
                            Empty::new().boxed()
                        } else {
                            Full::new(Bytes::from(text)).boxed()
                        };
                        Ok::<_, std::convert::Infallible>(
                            http::Response::builder().status(status).body(body).unwrap(),
                        )
                    }
                });
                let serve = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serve);
            }
        });
        seen
    }
}

#[tokio::test]
async fn a_machine_is_described_by_these_requests_in_this_order() {
    let f = api(Duration::from_secs(5));
    let seen = f.serve(|_| (204, ""));
    f.api.configure(&id(), &config()).await.unwrap();
    f.api.start(&id()).await.unwrap();
    f.api.pause(&id()).await.unwrap();
    f.api.resume(&id()).await.unwrap();
    f.api.send_ctrl_alt_del(&id()).await.unwrap();
    f.api.put_metadata(&id(), "{}").await.unwrap();
    let text = seen.lock().clone();
    insta::assert_snapshot!(text, @r#"
    PUT /logger {"level":"Info","log_path":"/log.fifo","show_level":true,"show_log_origin":false}
    PUT /metrics {"metrics_path":"/metrics.fifo"}
    PUT /machine-config {"mem_size_mib":256,"smt":false,"track_dirty_pages":false,"vcpu_count":2}
    PUT /boot-source {"boot_args":"console=ttyS0 reboot=k panic=1","initrd_path":"/initrd","kernel_image_path":"/kernel"}
    PUT /drives/rootfs {"cache_type":"Writeback","drive_id":"rootfs","io_engine":"Sync","is_read_only":false,"is_root_device":true,"path_on_host":"/rootfs","rate_limiter":{"bandwidth":{"refill_time":1000,"size":1000000}}}
    PUT /drives/work {"cache_type":"Writeback","drive_id":"work","io_engine":"Sync","is_read_only":false,"is_root_device":false,"path_on_host":"/work"}
    PUT /network-interfaces/eth0 {"guest_mac":"02:fc:0a:40:00:02","host_dev_name":"bg-aaaaaaaaaaaa","iface_id":"eth0","tx_rate_limiter":{"ops":{"refill_time":1000,"size":500}}}
    PUT /mmds/config {"network_interfaces":["eth0"],"version":"V2"}
    PUT /mmds {"name":"a"}
    PUT /vsock {"guest_cid":5,"uds_path":"/v.sock"}
    PUT /entropy {}
    PUT /actions {"action_type":"InstanceStart"}
    PATCH /vm {"state":"Paused"}
    PATCH /vm {"state":"Resumed"}
    PUT /actions {"action_type":"SendCtrlAltDel"}
    PUT /mmds {}
    "#);
}

#[tokio::test]
async fn what_the_vmm_refuses_is_reported_in_its_words() {
    let f = api(Duration::from_secs(5));
    f.serve(|_| (400, r#"{"fault_message":"The kernel file cannot be opened."}"#));
    let error = f.api.start(&id()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::Refused);
    assert!(error.to_string().contains("The kernel file cannot be opened."), "{error}");
}

#[tokio::test]
async fn configuring_again_passes_over_metrics_that_were_set_before() {
    let f = api(Duration::from_secs(5));
    let words = r#"{"fault_message":"Cannot initialize the metrics system due to bad user input: Reinitialization of metrics not allowed."}"#;
    f.serve(move |n| if n == 1 { (400, words) } else { (204, "") });
    f.api.configure(&id(), &config()).await.unwrap();
}

#[tokio::test]
async fn an_api_that_hangs_is_given_up() {
    let f = api(Duration::from_millis(50));
    let _silent = UnixListener::bind(f.socket()).unwrap();
    let error = f.api.describe(&id()).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TimedOut);
}

#[tokio::test]
async fn without_a_socket_or_a_listener_nobody_is_found() {
    let f = api(Duration::from_secs(5));
    assert_eq!(f.api.describe(&id()).await.unwrap_err().kind, HostErrorKind::NotFound);
    drop(UnixListener::bind(f.socket()).unwrap());
    assert_eq!(f.api.describe(&id()).await.unwrap_err().kind, HostErrorKind::NotFound);
    let error = f.api.wait_ready(&id(), Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TimedOut);
}

#[tokio::test]
async fn an_api_that_comes_up_later_is_waited_for() {
    let f = api(Duration::from_secs(5));
    let jail = id();
    let wait = f.api.wait_ready(&jail, Duration::from_secs(20));
    let serve = async {
        tokio::task::yield_now().await;
        f.serve(|_| (200, r#"{"id":"jail-1","state":"Not started","vmm_version":"1.16.1","app_name":"Firecracker"}"#))
    };
    let (ready, _) = tokio::join!(wait, serve);
    ready.unwrap();
    assert_eq!(f.api.describe(&id()).await.unwrap(), VmmState::NotStarted);
}

#[tokio::test]
async fn a_symlink_in_place_of_the_socket_is_not_followed() {
    let f = api(Duration::from_secs(5));
    let other = f.temp.path().join("other.sock");
    let listener = UnixListener::bind(&other).unwrap();
    std::os::unix::fs::symlink(&other, f.socket()).unwrap();
    assert!(f.api.describe(&id()).await.is_err());
    let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(accepted.is_err(), "somebody connected to the other socket");
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let f = api(Duration::from_secs(20));
    let endless: &'static str = String::leak("x".repeat(2 * ANSWER_LIMIT));
    f.serve(move |_| (200, endless));
    assert!(f.api.describe(&id()).await.is_err());
}

#[tokio::test]
async fn what_a_vmm_that_was_taken_over_says_of_itself_is_told_in_a_sentence() {
    // A mebibyte of characters that each become six when they are quoted.
    let steering: &'static str = String::leak("\u{7f}".repeat(ANSWER_LIMIT - 100));
    for answer in [
        format!("{{\"state\":\"{steering}\"}}"),
        format!("\"{steering}\""),
        format!("{{\"fault_message\":\"{steering}\"}}"),
    ] {
        for status in [200, 400] {
            let f = api(Duration::from_secs(20));
            let answer: &'static str = String::leak(answer.clone());
            f.serve(move |_| (status, answer));
            let error = f.api.describe(&id()).await.unwrap_err();
            let told = error.chain();
            assert!(told.len() <= 500 * 3 + 200, "{} bytes", told.len());
            assert!(!told.chars().any(char::is_control), "{told:?}");
        }
    }
}
