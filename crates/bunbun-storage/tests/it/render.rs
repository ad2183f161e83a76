//! `/render/image/…`.

use std::io::Cursor;

use serde_json::json;

use crate::support::{Storage, token};

fn png(width: u32, height: u32) -> Vec<u8> {
    let image = image::DynamicImage::ImageRgb8(image::RgbImage::from_fn(width, height, |x, y| {
        image::Rgb([
            u8::try_from(x % 256).unwrap(),
            u8::try_from(y % 256).unwrap(),
            9,
        ])
    }));
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

async fn with_image(public: bool) -> Option<Storage> {
    let storage = Storage::start().await?;
    if public {
        storage.public_bucket("b").await;
    } else {
        storage.bucket("b").await;
    }
    storage
        .post("/object/b/x.png")
        .service()
        .bytes("image/png", png(400, 200))
        .send()
        .await
        .ok();
    Some(storage)
}

fn size(bytes: &[u8]) -> (u32, u32) {
    let image = image::load_from_memory(bytes).unwrap();
    (image.width(), image.height())
}

#[tokio::test]
async fn images_are_rendered_as_asked_and_as_clients_accept() {
    let Some(storage) = with_image(true).await else {
        return;
    };
    let get = |query: &str| storage.get(&format!("/render/image/public/b/x.png?{query}"));
    let cover = get("width=100&height=100").send().await.ok();
    assert_eq!(
        (size(&cover.body), cover.header("content-type")),
        ((100, 100), "image/png")
    );
    assert_eq!(
        cover.header("x-transformations"),
        "height:100,width:100,resize:cover"
    );
    assert_eq!(cover.header("vary"), "Accept");
    assert_eq!(
        size(
            &get("width=100&height=100&resize=contain")
                .send()
                .await
                .ok()
                .body
        ),
        (100, 50)
    );
    assert_eq!(
        size(
            &get("width=10&height=100&resize=fill")
                .send()
                .await
                .ok()
                .body
        ),
        (10, 100)
    );
    let webp = get("width=100")
        .header("accept", "image/avif,image/webp,*/*")
        .send()
        .await
        .ok();
    assert_eq!(
        (size(&webp.body), webp.header("content-type")),
        ((100, 50), "image/webp")
    );
    let origin = get("width=100&format=origin")
        .header("accept", "image/webp")
        .send()
        .await
        .ok();
    assert_eq!(origin.header("content-type"), "image/png");
    let (good, bad) = (
        get("quality=100&format=webp").send().await.ok(),
        get("quality=20&format=webp").send().await.ok(),
    );
    assert!(good.body.len() > bad.body.len());
    for query in [
        "width=x",
        "quality=19",
        "quality=101",
        "resize=zoom",
        "format=exe",
    ] {
        get(query).send().await.refused("400", "InvalidRequest");
    }
}

#[tokio::test]
async fn a_rendering_has_an_entity_tag_of_its_own() {
    let Some(storage) = with_image(true).await else {
        return;
    };
    let get = |query: &str| storage.get(&format!("/render/image/public/b/x.png?{query}"));
    let small = get("width=10").send().await.ok().header("etag").to_owned();
    let large = get("width=20").send().await.ok().header("etag").to_owned();
    let webp = get("width=10")
        .header("accept", "image/webp")
        .send()
        .await
        .ok()
        .header("etag")
        .to_owned();
    assert!(small != large && small != webp);
    let same = get("width=10").header("if-none-match", &small).send().await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    // A new content is rendered anew.
    storage
        .call("PUT", "/object/b/x.png")
        .service()
        .bytes("image/png", png(50, 50))
        .send()
        .await
        .ok();
    let new = get("width=10")
        .header("if-none-match", &small)
        .send()
        .await
        .ok();
    assert_eq!(size(&new.body), (10, 10));
}

#[tokio::test]
async fn private_images_need_a_right_or_a_signed_url() {
    let Some(storage) = with_image(false).await else {
        return;
    };
    storage
        .get("/render/image/public/b/x.png")
        .send()
        .await
        .refused("404", "NoSuchBucket");
    storage
        .get("/render/image/authenticated/b/x.png")
        .send()
        .await
        .refused("400", "InvalidRequest");
    let anon = token("anon", None);
    storage
        .get("/render/image/authenticated/b/x.png")
        .token(&anon)
        .send()
        .await
        .refused("404", "NoSuchKey");
    let own = storage
        .get("/render/image/authenticated/b/x.png?width=10")
        .service()
        .send()
        .await
        .ok();
    assert_eq!(size(&own.body), (10, 5));
    let body = json!({ "expiresIn": 60, "transform": { "width": 40, "height": 40, "resize": "contain", "quality": 50 } });
    let signed = storage
        .post("/object/sign/b/x.png")
        .service()
        .json(&body)
        .send()
        .await
        .ok()
        .json();
    let url = signed["signedURL"].as_str().unwrap();
    assert!(
        url.starts_with("/render/image/sign/b/x.png?token="),
        "{url}"
    );
    assert_eq!(size(&storage.get(url).send().await.ok().body), (40, 20));
    let larger = storage.get(&format!("{url}&width=400")).send().await.ok();
    assert_eq!(
        size(&larger.body),
        (40, 20),
        "the token decides, not the parameters"
    );
    storage
        .get(&url.replace("x.png?", "y.png?"))
        .send()
        .await
        .refused("400", "InvalidSignature");
    storage.clock.advance(60);
    storage.get(url).send().await.refused("400", "InvalidJWT");
}

#[tokio::test]
async fn what_is_no_image_or_too_large_is_refused() {
    let Some(storage) = Storage::start_with(|s| s.image_max_pixels = 100_000).await else {
        return;
    };
    storage.public_bucket("b").await;
    let put = |name: &str, mime: &str, content: Vec<u8>| {
        storage
            .post(&format!("/object/b/{name}"))
            .service()
            .bytes(mime, content)
    };
    put("text", "image/png", b"no image".to_vec())
        .send()
        .await
        .ok();
    put("bomb", "image/png", png(1000, 1000)).send().await.ok();
    put("drawing", "image/svg+xml", b"<svg/>".to_vec())
        .send()
        .await
        .ok();
    storage
        .get("/render/image/public/b/text?width=1")
        .send()
        .await
        .refused("422", "InvalidRequest");
    storage
        .get("/render/image/public/b/bomb?width=1")
        .send()
        .await
        .refused("422", "InvalidRequest");
    let drawing = storage
        .get("/render/image/public/b/drawing?width=1")
        .send()
        .await
        .ok();
    assert_eq!(drawing.text(), "<svg/>");
    assert!(
        drawing
            .header("content-security-policy")
            .contains("sandbox")
    );
}

#[tokio::test]
async fn rendering_can_be_turned_off() {
    let Some(storage) = Storage::start_with(|s| s.image_rendering = false).await else {
        return;
    };
    storage.public_bucket("b").await;
    storage
        .post("/object/b/x")
        .service()
        .bytes("image/png", png(1, 1))
        .send()
        .await
        .ok();
    storage
        .get("/render/image/public/b/x")
        .send()
        .await
        .refused("409", "FeatureNotEnabled");
}

#[tokio::test]
async fn pictures_of_extreme_shape_cost_little_and_fail_nowhere() {
    let Some(storage) = with_image(true).await else {
        return;
    };
    let put = |name: &str, width: u32, height: u32| {
        let call = storage.post(&format!("/object/b/{name}")).service();
        call.bytes("image/png", png(width, height)).send()
    };
    put("wide.png", 1_000_000, 1).await.ok();
    put("screen.png", 100, 20_000).await.ok();
    let get = |query: &str| storage.get(&format!("/render/image/public/b/{query}"));
    for query in ["wide.png?width=101", "wide.png"] {
        get(query).send().await.refused("422", "InvalidRequest");
    }
    let webp = |query: &str| get(query).header("accept", "image/webp").send();
    for query in [
        "screen.png",
        "screen.png?width=100",
        "screen.png?quality=50",
    ] {
        let answer = webp(query).await.ok();
        assert_eq!(answer.header("content-type"), "image/webp");
        // The largest that the format has.
        assert_eq!(size(&answer.body), (82, 16_383), "{query}");
    }
    let plain = get("screen.png?width=100").send().await.ok();
    assert_eq!(size(&plain.body), (82, 16_383));
    assert_eq!(
        size(&get("screen.png?height=200").send().await.ok().body),
        (1, 200)
    );
}
