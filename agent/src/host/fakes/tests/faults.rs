//! The gate: counting, failing, hanging, crashing, repeating.

use super::*;

#[tokio::test]
async fn the_nth_effect_fails_and_does_nothing() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(FaultPlan::none().fail(2, HostErrorKind::NoSpace));
    host.files.ensure_dir(&dir(1)).await.unwrap();
    assert_eq!(kind(host.files.ensure_dir(&dir(2)).await), HostErrorKind::NoSpace);
    assert_eq!(host.files.list_dirs().await.unwrap(), [dir(1)]);
    host.files.ensure_dir(&dir(2)).await.unwrap();
    assert_eq!(kernel.effects(), 3);
    assert_eq!(
        kernel.trace(),
        [
            "files.ensure_dir vm-1: made",
            "files.ensure_dir vm-2: staged NoSpace",
            "files.ensure_dir vm-2: made",
        ]
    );
}

#[tokio::test]
async fn a_rule_strikes_by_verb_and_object() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let at = At::verb("files.ensure_dir").object("vm-2").only(2);
    kernel.set_faults(FaultPlan::none().with(at, InjectedFault::Fail(HostErrorKind::Busy)));
    for n in [1, 2, 1] {
        host.files.ensure_dir(&dir(n)).await.unwrap();
    }
    assert_eq!(kind(host.files.ensure_dir(&dir(2)).await), HostErrorKind::Busy);
    host.files.ensure_dir(&dir(2)).await.unwrap();
}

#[tokio::test]
async fn an_effect_may_be_done_and_say_it_failed() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    let fault = InjectedFault::FailAfter(HostErrorKind::TimedOut);
    kernel.set_faults(FaultPlan::none().with(At::nth(1), fault));
    assert_eq!(kind(host.files.ensure_dir(&dir(1)).await), HostErrorKind::TimedOut);
    assert_eq!(host.files.list_dirs().await.unwrap(), [dir(1)]);
}

#[tokio::test]
async fn reads_fail_only_when_told_so() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(
        FaultPlan::none()
            .with(At::default(), InjectedFault::Fail(HostErrorKind::Other))
            .fail_reads("processes.list", HostErrorKind::NotPermitted),
    );
    host.files.list_dirs().await.unwrap();
    assert_eq!(kernel.effects(), 0);
    assert_eq!(kind(host.processes.list("firecracker").await), HostErrorKind::NotPermitted);
}

#[tokio::test]
async fn after_a_crash_the_effect_is_done_and_nothing_answers_the_dead_agent() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(FaultPlan::none().crash_after(2));
    host.files.ensure_dir(&dir(1)).await.unwrap();
    assert!(!answers(kernel.crashed()).await);
    assert!(!answers(host.files.ensure_dir(&dir(2))).await);
    kernel.crashed().await;
    assert!(!answers(host.files.ensure_dir(&dir(3))).await);
    assert!(!answers(host.files.list_dirs()).await);
    kernel.new_agent();
    assert!(!kernel.is_crashed());
    assert!(!answers(host.files.list_dirs()).await);
    assert_eq!(kernel.host().files.list_dirs().await.unwrap(), [dir(1), dir(2)]);
}

#[tokio::test]
async fn a_crash_before_leaves_the_effect_undone() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(FaultPlan::none().with(At::nth(1), InjectedFault::CrashBefore));
    assert!(!answers(host.files.ensure_dir(&dir(1))).await);
    kernel.crashed().await;
    kernel.new_agent();
    assert!(kernel.host().files.list_dirs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_hanging_effect_is_done_when_released() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(FaultPlan::none().hang(1));
    let task = tokio::spawn({
        let host = host.clone();
        async move { host.files.ensure_dir(&dir(1)).await }
    });
    while kernel.hanging() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(host.files.list_dirs().await.unwrap().is_empty());
    kernel.release();
    assert_eq!(task.await.unwrap().unwrap(), Change::Made);
    assert_eq!(kernel.hanging(), 0);
}

#[tokio::test]
async fn a_hanging_effect_is_not_done_when_the_caller_gives_up() {
    let kernel = FakeKernel::new();
    let host = kernel.host();
    kernel.set_faults(FaultPlan::none().hang(1));
    assert!(!answers(host.files.ensure_dir(&dir(1))).await);
    kernel.release();
    assert!(host.files.list_dirs().await.unwrap().is_empty());
    kernel.set_faults(FaultPlan::none().with(At::nth(1), InjectedFault::HangAfter));
    assert!(!answers(host.files.ensure_dir(&dir(1))).await);
    assert_eq!(host.files.list_dirs().await.unwrap(), [dir(1)]);
}

#[tokio::test]
async fn every_repeatable_effect_finds_things_so_the_second_time() {
    let kernel = FakeKernel::new();
    kernel.set_faults(FaultPlan::none().repeat_each());
    let host = kernel.host();
    assert_eq!(host.files.ensure_dir(&dir(1)).await.unwrap(), Change::AlreadySo);
    let (disks, launched) = run(&host, 1).await.unwrap();
    host.vmm.pause(&jail(1)).await.unwrap();
    host.vmm.resume(&jail(1)).await.unwrap();
    tear_down(&host, 1, &disks, launched).await.unwrap();
    assert_eq!(kernel.violations(), Vec::<String>::new());
    assert_eq!(kernel.objects_with("vm-1"), Default::default());
}

#[tokio::test(start_paused = true)]
async fn effects_take_as_long_as_they_are_told_to() {
    let kernel = FakeKernel::new();
    let delay = Duration::from_secs(3);
    let options = HostOptions { effect_delay: Some(delay), ..HostOptions::default() };
    let host = super::super::host(&kernel, options);
    let began = tokio::time::Instant::now();
    host.files.ensure_dir(&dir(1)).await.unwrap();
    host.files.list_dirs().await.unwrap();
    assert_eq!(began.elapsed(), delay);
}

#[tokio::test]
async fn a_vm_survives_a_crash_after_any_effect_and_can_be_finished() {
    let all = {
        let kernel = FakeKernel::new();
        run(&kernel.host(), 1).await.unwrap();
        kernel.effects()
    };
    for n in 1..=all {
        let kernel = FakeKernel::new();
        kernel.set_faults(FaultPlan::none().crash_after(n));
        let host = kernel.host();
        assert!(!answers(run(&host, 1)).await, "crash after effect {n}");
        kernel.crashed().await;
        kernel.set_faults(FaultPlan::none());
        kernel.new_agent();
        let host = kernel.host();
        for process in host.processes.list("firecracker").await.unwrap() {
            host.processes.signal(process.pid, process.start_ticks, Signal::Kill).await.unwrap();
        }
        let (disks, launched) = run(&host, 1).await.unwrap();
        tear_down(&host, 1, &disks, launched).await.unwrap();
        assert_eq!(kernel.objects_with("vm-1"), Default::default(), "crash after effect {n}");
        assert_eq!(kernel.violations(), Vec::<String>::new());
    }
}
