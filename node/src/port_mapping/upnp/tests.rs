//! Against a small router of the tests' own on loopback, which speaks UPnP.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::tests::{Work, address};
use super::super::{MappingError, refused};
use super::*;
use crate::port_mapping::Mapped;

const HERE: NonZeroU16 = NonZeroU16::new(7_667).unwrap();
const OUTSIDE: &str = "203.0.113.7";
const LIMIT: Duration = Duration::from_secs(60);
const SERVICE: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// What a router of these tests does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Forward,
    /// Others have the first two ports.
    ForwardTheThird,
    /// It knows no leases that end.
    ForwardForEver,
    /// It allows nothing, and says so with what does not belong on a terminal.
    Refuse,
    /// Its description never ends.
    Flood,
    /// Its answer leads to another machine.
    LeadAway,
    /// It has forwarded the port, and has no address outside.
    KnowNoAddress,
}

/// What it forwards: the port outside, to where, for how many seconds.
type Forwards = Option<(u16, String, u32)>;

struct Device {
    router: Router,
    forwards: watch::Receiver<Forwards>,
}

impl Device {
    async fn start(last: u8, does: Does) -> Self {
        let own = address(last);
        let search = UdpSocket::bind((own, PORT)).await.unwrap();
        let listener = TcpListener::bind((own, 0)).await.unwrap();
        let place = match does {
            Does::LeadAway => SocketAddr::new(address(last + 100).into(), 80),
            _ => listener.local_addr().unwrap(),
        };
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = search.recv_from(&mut buffer).await.unwrap();
                assert!(buffer[..length].starts_with(b"M-SEARCH"));
                let answer =
                    format!("HTTP/1.1 200 OK\r\nLOCATION: http://{place}/root.xml\r\n\r\n");
                search.send_to(answer.as_bytes(), from).await.unwrap();
            }
        });
        let (told, forwards) = watch::channel(None);
        let told = Arc::new(told);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, does, Arc::clone(&told)));
            }
        });
        let router = Router { address: own, client: Ipv4Addr::LOCALHOST.into() };
        Self { router, forwards }
    }

    async fn forwards(&mut self, wanted: impl FnMut(&Forwards) -> bool) -> Forwards {
        timeout(LIMIT, self.forwards.wait_for(wanted)).await.unwrap().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, does: Does, told: Arc<watch::Sender<Forwards>>) {
    let Some(request) = request(&mut stream).await else { return };
    if does == Does::Flood {
        let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n<root>").await;
        while stream.write_all(&[b' '; 4_096]).await.is_ok() {}
        return;
    }
    let (code, body) = answer_to(&request, does, &told);
    let head = format!(
        "HTTP/1.1 {code} OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _gone = stream.write_all((head + &body).as_bytes()).await;
}

/// Head and body.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut buffer) = (String::new(), [0; 4_096]);
    loop {
        if let Some(end) = text.find("\r\n\r\n") {
            let lengths = text.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
            });
            if text.len() >= end + 4 + lengths.max().unwrap_or(0) {
                return Some(text);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => text.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
        }
    }
}

fn answer_to(request: &str, does: Does, told: &watch::Sender<Forwards>) -> (u16, String) {
    let field = |name: &str| {
        let (_, rest) = request.split_once(&format!("<{name}"))?;
        let (value, _) = rest.split_once('>')?.1.split_once('<')?;
        Some(value.to_owned())
    };
    let done = |action: &str, within: &str| {
        (
            200,
            envelope(&format!(
                "<u:{action}Response xmlns:u=\"{SERVICE}\">{within}</u:{action}Response>"
            )),
        )
    };
    if request.starts_with("GET /root.xml") {
        return (200, description());
    }
    if request.starts_with("GET /actions.xml") {
        return (200, actions());
    }
    assert!(request.starts_with("POST /control"), "{request}");
    if request.contains("#GetExternalIPAddress") {
        return match does {
            Does::KnowNoAddress => fault(501, "Action Failed"),
            _ => done(
                "GetExternalIPAddress",
                &format!("<NewExternalIPAddress>{OUTSIDE}</NewExternalIPAddress>"),
            ),
        };
    }
    if request.contains("#DeletePortMapping") {
        told.send_replace(None);
        return done("DeletePortMapping", "");
    }
    assert!(request.contains("#AddPortMapping"), "{request}");
    let port: u16 = field("NewExternalPort").unwrap().parse().unwrap();
    let seconds: u32 = field("NewLeaseDuration").unwrap().parse().unwrap();
    match does {
        Does::ForwardTheThird if port < HERE.get() + 2 => fault(718, "ConflictInMappingEntry"),
        Does::ForwardForEver if seconds != 0 => fault(725, "OnlyPermanentLeasesSupported"),
        Does::Refuse => fault(402, &format!("no\u{202e} way\r\n{}", "x".repeat(10_000))),
        _ => {
            let (client, inside) = (field("NewInternalClient"), field("NewInternalPort"));
            let to = format!("{}:{}", client.unwrap(), inside.unwrap());
            told.send_replace(Some((port, to, seconds)));
            done("AddPortMapping", "")
        }
    }
}

fn envelope(within: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <s:Body>{within}</s:Body></s:Envelope>"
    )
}

fn fault(code: u16, text: &str) -> (u16, String) {
    let error = format!(
        "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>\
         <UPnPError xmlns=\"urn:schemas-upnp-org:control-1-0\"><errorCode>{code}</errorCode>\
         <errorDescription>{text}</errorDescription></UPnPError></detail></s:Fault>"
    );
    (500, envelope(&error))
}

fn description() -> String {
    let device = |kind: &str, within: &str| {
        format!(
            "<device><deviceType>urn:schemas-upnp-org:device:{kind}:1</deviceType>{within}</device>"
        )
    };
    let list = |within: &str| format!("<deviceList>{within}</deviceList>");
    let service = format!(
        "<serviceList><service><serviceType>{SERVICE}</serviceType>\
         <serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><SCPDURL>/actions.xml</SCPDURL>\
         <controlURL>/control</controlURL><eventSubURL>/events</eventSubURL></service></serviceList>"
    );
    let connection = list(&device("WANConnectionDevice", &service));
    let wan = list(&device("WANDevice", &connection));
    let whole = device("InternetGatewayDevice", &wan);
    format!("<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\">{whole}</root>")
}

fn actions() -> String {
    let action = |name: &str, arguments: &[&str]| {
        let argument = |name: &&str| {
            format!("<argument><name>{name}</name><direction>in</direction></argument>")
        };
        let arguments: String = arguments.iter().map(argument).collect();
        format!("<action><name>{name}</name><argumentList>{arguments}</argumentList></action>")
    };
    let which = ["NewRemoteHost", "NewExternalPort", "NewProtocol"];
    let what = [
        "NewInternalPort",
        "NewInternalClient",
        "NewEnabled",
        "NewPortMappingDescription",
        "NewLeaseDuration",
    ];
    let all = [
        action("AddPortMapping", &[&which[..], &what[..]].concat()),
        action("DeletePortMapping", &which),
        action("GetExternalIPAddress", &[]),
    ];
    format!(
        "<?xml version=\"1.0\"?><scpd xmlns=\"urn:schemas-upnp-org:service-1-0\"><actionList>{}\
         </actionList></scpd>",
        all.concat()
    )
}

async fn is_forwarded_and_taken_back(last: u8, does: Does, port: u16, seconds: u32) {
    let mut device = Device::start(last, does).await;
    let mut work = Work::begin(device.router);
    let external = SocketAddr::new(OUTSIDE.parse().unwrap(), port);
    assert_eq!(work.changed(1).await, Mapped::Forwarded { protocol: "UPnP", external });
    let here = format!("127.0.0.1:{HERE}");
    assert_eq!(device.forwards(Option::is_some).await, Some((port, here, seconds)));
    work.end().await;
    assert_eq!(device.forwards(Option::is_none).await, None);
}

#[tokio::test]
async fn a_router_that_knows_only_upnp_forwards_while_the_node_runs_and_no_longer() {
    is_forwarded_and_taken_back(11, Does::Forward, 7_667, LEASE_SECS).await;
}

#[tokio::test]
async fn where_another_machine_has_the_port_one_of_the_next_is_taken() {
    is_forwarded_and_taken_back(12, Does::ForwardTheThird, 7_669, LEASE_SECS).await;
}

#[tokio::test]
async fn a_router_that_knows_no_end_of_a_lease_is_asked_for_one_without() {
    is_forwarded_and_taken_back(13, Does::ForwardForEver, 7_667, 0).await;
}

#[tokio::test]
async fn what_a_router_says_is_told_in_plain_letters_and_not_at_any_length() {
    let device = Device::start(14, Does::Refuse).await;
    let mut work = Work::begin(device.router);
    let Mapped::Refused(reason) = work.changed(1).await else { panic!("it forwards nothing") };
    let address = device.router.address;
    assert!(reason.starts_with(&format!("the router {address} refuses: by UPnP: ")), "{reason}");
    assert!(reason.contains("402") && reason.contains("no? way??"), "{reason}");
    assert!(reason.is_ascii() && reason.len() < 300, "{reason}");
    work.end().await;
}

#[tokio::test]
async fn a_description_without_an_end_and_one_of_another_machine_are_not_used() {
    for (last, does) in [(15, Does::Flood), (16, Does::LeadAway)] {
        let device = Device::start(last, does).await;
        let first = timeout(LIMIT, Lease::first(device.router, HERE)).await.unwrap();
        assert_eq!(first.unwrap_err(), UpnpError::Silent, "{does:?}");
    }
}

#[tokio::test]
async fn a_port_of_a_router_without_an_address_is_of_no_use_and_is_taken_back() {
    let mut device = Device::start(17, Does::KnowNoAddress).await;
    let mut work = Work::begin(device.router);
    let Mapped::Refused(reason) = work.changed(1).await else { panic!("nobody reaches it") };
    assert!(reason.contains("by UPnP"), "{reason}");
    device.forwards(Option::is_some).await;
    work.end().await;
    device.forwards(Option::is_none).await;
}

#[test]
fn who_answers_in_the_routers_place_is_named() {
    let other = UpnpError::Stranger("192.168.0.66".parse().unwrap());
    let error: MappingError = refused("192.168.0.1".parse().unwrap(), &other);
    let told = "the router 192.168.0.1 refuses: by UPnP 192.168.0.66 answers in its place";
    assert_eq!(error.to_string(), told);
}
