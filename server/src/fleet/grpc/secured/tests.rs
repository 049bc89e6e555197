use super::*;

#[tokio::test]
async fn what_leads_to_the_server_itself_by_another_name_is_not_dialled() {
    assert!(!found("localhost:7072").await.expect("it may").is_empty());
    assert_eq!(found("192.0.2.7:7072").await.expect("it may").len(), 1);
    // Names that the C library resolves by itself, as it does those of a resolver that lies.
    for (address, ip) in [("127.1:5432", "127.0.0.1"), ("0xa9fea9fe:80", "169.254.169.254")] {
        let error = found(address).await.expect_err("it leads to where no host is");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains(&format!("{address} leads to {ip}")), "{error}");
    }
}
