import json
from tests.client import Api
from tests.factories import Make
async def test_probe(api: Api, make: Make):
    maria = await make.user(); ada = await make.admin()
    async def show(name, answer):
        print(f"{name:32}", answer.status_code, answer.headers.get("content-type"), answer.text[:150], {k:v for k,v in answer.headers.items() if k in("allow","connection","vary","www-authenticate","link")})
    J={"Content-Type":"application/json"}
    p="/posts"
    c=maria.api
    for name, body in {"deep": b'['*100000, "deepbal": b'{"title":'+b'['*5000+b']'*5000+b'}', "bigint": b'{"title":'+b'9'*5000+b'}', "float": b'{"title":1e999999}', "nan": b'{"title":NaN}', "utf8": b'{"title":"\xff"}', "utf16": '{"title":"a","body":"b"}'.encode("utf-16"), "surrogate": b'{"title":"\\ud800","body":"x"}', "surkey": b'{"\\ud800":1}', "empty": b'', "null": b'null', "list": b'[]', "str": b'"x"', "num":b'1', "trunc": b'{"title":', "dup": b'{"title":"a","title":"b","body":"x"}', "bom": b'\xef\xbb\xbf{"title":"a","body":"b"}', "bigkeys": json.dumps({f"k{i}":1 for i in range(30000)}).encode(), "keylong": json.dumps({"k"*200000:1}).encode()}.items():
        a = await c.post(p, content=body, headers=J); await show(name, a)
        print(len(a.content))
    for name, kw in {"noct": dict(content=b'{"title":"a","body":"b"}'), "text": dict(content=b'x', headers={"Content-Type":"text/plain"}), "form": dict(data={"title":"a"}), "json+charset": dict(content=b'{"title":"a","body":"b"}', headers={"Content-Type":"application/json; charset=utf-8"}), "merge": dict(content=b'{}', headers={"Content-Type":"application/merge-patch+json"}),"badct": dict(content=b'{}', headers={"Content-Type":"application/json/x"}), "multipart": dict(files={"a": b"x"})}.items():
        await show(name, await c.post(p, **kw))
    post = (await c.post(p, json={"title":"a","body":"b"})).json()["id"]
    for acc in ("application/json","text/html","*/*","","application/*;q=0.1","application/json;q=0","application/json;q=0.0", "text/html, application/json;q=0.5","application/problem+json", "garbage", ";;;,"):
        await show("accept "+acc, await c.get(f"/posts/{post}", headers={"Accept":acc}))
    await show("delete accept json", await c.delete(f"/posts/{post}", headers={"Accept":"application/json"}))
    for path in ("/posts/%D9%A1","/posts/%EF%BC%91","/posts/1%00","/posts/%00","/posts/%ff","/users/+1","/posts/1_0","/posts/ 1", "/posts/1/", "/posts//", "/nothing", "/"):
        await show("path "+path, await ada.api.get(path))
    await show("search nul", await ada.api.get("/admin/users?search=%00"))
    await show("search ff", await ada.api.get("/admin/users?search=%ff"))
    await show("search %25", await ada.api.get("/admin/users?search=%25"))
    await show("empty param", await ada.api.get("/admin/users?=1"))
    await show("unk", await ada.api.get("/admin/users?foo&bar=1"))
    await show("unk surr", await ada.api.get("/admin/users?%ED%A0%80=1"))
    await show("repeat", await ada.api.get("/posts?limit=1&limit=2"))
    await show("skip", await ada.api.get("/posts?skip=10001"))
    await show("skip huge", await ada.api.get("/posts?skip="+"9"*5000))
    await show("skip uni", await ada.api.get("/posts?skip=%D9%A1"))
    await show("cursor", await ada.api.get("/posts?cursor=%00%ff"))
    await show("cursor empty", await ada.api.get("/posts?cursor="))
    for m in ("OPTIONS","PUT","FOO","TRACE","CONNECT"):
        await show(m, await ada.api.request(m, "/users/profile"))
        await show(m, await ada.api.request(m, "/auth/token"))
    await show("HEAD", await api.head("/posts"))
    await show("HEAD post only", await api.head("/auth/token"))
    await show("options", await api.request("OPTIONS","/posts",headers={"Origin":"https://x.example","Access-Control-Request-Method":"GET"}))
    for n in ("token",):
        for kw in (dict(json={}), dict(data={}), dict(content=b"x=1"), dict(content=b"%ff=%ff&grant_type=password&username=%00&password=%ff", headers={"Content-Type":"application/x-www-form-urlencoded"}), dict(files={"a":b"x"}), dict(data={"grant_type":"x"}), dict(data={"grant_type":"password","username":"x"*400,"password":"x"}),dict(data={"grant_type":"password","username":"x","password":"y"*200000}), dict(data={f"x{i}":"1" for i in range(2000)}), dict(content=b"grant_type=password&grant_type=password&username=a&password=b", headers={"Content-Type":"application/x-www-form-urlencoded"})):
            await show("token", await api.post("/auth/token", **kw))
    await show("token query", await api.post("/auth/token?foo=1", data={"grant_type":"x"}))
    await show("413", await c.post(p, content=b'x'*1048577, headers=J))
    async def gen():
        for _ in range(200): yield b'x'*10000
    await show("413 chunked", await c.post(p, content=gen(), headers=J))
    await show("413 chunked form", await c.post("/auth/token", content=gen(), headers={"Content-Type":"application/x-www-form-urlencoded"}))
    await show("413 anonymous", await api.post(p, content=gen(), headers=J))
    await show("cl", await c.post(p, content=b'{}', headers={**J,"Content-Length":"²".encode("latin-1")}))
