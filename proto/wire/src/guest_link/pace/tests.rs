//! What a guest pays, and what whoever carries its words waits.

use super::*;

fn frame(kind: u8, content: usize) -> Vec<u8> {
    let length = u32::try_from(content).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
    frame.resize(HEAD + content, 0x55);
    frame
}

#[test]
fn a_copy_costs_nothing_and_what_is_delivered_to_nobody_its_length() {
    let mut meter = Meter::default();
    let copy: Vec<u8> = (0..1000).flat_map(|_| frame(DATA, 16_384)).collect();
    assert_eq!(meter.price(&copy), 0);
    assert_eq!(meter.price(&frame(0xfa, 16_384)), 16_384 + FRAME);
    // Crumbs, pings and windows.
    assert_eq!(meter.price(&frame(DATA, 0)), FRAME);
    assert_eq!(meter.price(&frame(DATA, 200)), 56);
    assert_eq!(meter.price(&frame(6, 8)), FRAME + 8);
}

#[test]
fn the_price_is_the_same_however_the_stream_is_cut() {
    let stream: Vec<u8> = [(4, 18), (DATA, 300), (0xfa, 1000), (8, 4), (DATA, 0), (1, 70)]
        .iter()
        .flat_map(|(kind, content)| frame(*kind, *content))
        .collect();
    let whole = Meter::default().price(&stream);
    for size in 1..40 {
        let mut meter = Meter::default();
        let cut: u64 = stream.chunks(size).map(|piece| meter.price(piece)).sum();
        assert_eq!(cut, whole, "in pieces of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_bound_is_taken_in_a_second_on_the_long_run() {
    let (begun, mut pace, mut taken) = (Instant::now(), Pace::new(1000), 0);
    while begun.elapsed() < Duration::from_secs(60) {
        taken += 300;
        if let Some(pause) = pace.after(300, Instant::now()) {
            tokio::time::sleep(pause).await;
        }
    }
    assert!((50_000..=80_000).contains(&taken), "{taken}");
    // One that stays below it never waits.
    let mut pace = Pace::new(1000);
    for _ in 0..100 {
        assert_eq!(pace.after(999, Instant::now()), None);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
