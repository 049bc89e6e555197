use super::*;

#[test]
fn a_line_says_how_much_how_fast_and_what_is_left() {
    let count = Count::new(Some(300 << 20));
    let mut rate = Rate::default();
    let mut at = |second: u64, done: u64| {
        count.add((done << 20) - count.read());
        rate.sentence("uploading", Duration::from_secs(second), &count)
    };
    assert_eq!(at(0, 0), "uploading: 0B of 300M", "nothing to go by yet");
    assert_eq!(at(1, 10), "uploading: 10M of 300M, 10M/s, 29s left");
    for second in 2..20 {
        at(second, 10);
    }
    // What was fast long ago counts for nothing.
    assert_eq!(at(20, 10), "uploading: 10M of 300M, 0B/s");
    assert_eq!(at(21, 300), "uploading: 300M of 300M, 58M/s");
    let mut unknown = Rate::default();
    let count = Count::new(None);
    unknown.sentence("copying", Duration::ZERO, &count);
    count.add(4096);
    let line = unknown.sentence("copying", Duration::from_secs(2), &count);
    assert_eq!(line, "copying: 4K, 2K/s");
}
