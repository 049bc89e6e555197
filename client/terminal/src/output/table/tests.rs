use super::*;

#[test]
fn words_that_do_not_fit_beside_each_other_go_below_each_other_whole() {
    let rows = || vec![vec![plain("web"), plain("RUNNING")], vec![plain("db"), plain("STOPPED")]];
    let words = words(&["NAME", "STATE"], &rows());
    assert_eq!(words, [4, 7]);
    assert!(fits(&words, 17) && !fits(&words, 16));
    let text = blocks(&["NAME", "STATE"], rows());
    assert_eq!(text, "NAME:    web\nSTATE:   RUNNING\n\nNAME:    db\nSTATE:   STOPPED\n");
}
