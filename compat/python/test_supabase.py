"""Python's `supabase` package, driven against BunBun."""

import os
import unittest
import urllib.request
import uuid

from storage3.exceptions import StorageApiError
from supabase import AuthApiError, AuthWeakPasswordError, ClientOptions, create_client

URL = os.environ["COMPAT_URL"]
ANON_KEY = os.environ["COMPAT_ANON_KEY"]
SERVICE_KEY = os.environ["COMPAT_SERVICE_KEY"]
PASSWORD = "correct horse battery 9"


def client(key=ANON_KEY):
    return create_client(URL, key, ClientOptions(auto_refresh_token=False, persist_session=False))


def address():
    return f"python-{uuid.uuid4().hex[:12]}@example.com"


class Auth(unittest.TestCase):
    def setUp(self):
        self.owner = client(SERVICE_KEY)
        self.email = address()
        attributes = {"email": self.email, "password": PASSWORD, "email_confirm": True}
        self.user = self.owner.auth.admin.create_user(attributes).user

    def signed_in(self):
        own = client()
        own.auth.sign_in_with_password({"email": self.email, "password": PASSWORD})
        return own

    def test_sign_up_needs_a_confirmation(self):
        answer = client().auth.sign_up({"email": address(), "password": PASSWORD})
        self.assertIsNone(answer.session)
        self.assertIsNotNone(answer.user.confirmation_sent_at)

    def test_sign_in_refresh_update_and_sign_out(self):
        own = self.signed_in()
        session = own.auth.get_session()
        self.assertEqual(own.auth.get_user().user.id, self.user.id)
        refreshed = own.auth.refresh_session()
        self.assertNotEqual(refreshed.session.refresh_token, session.refresh_token)
        updated = own.auth.update_user({"data": {"name": "Ada"}})
        self.assertEqual(updated.user.user_metadata["name"], "Ada")
        own.auth.sign_out()
        with self.assertRaises(AuthApiError) as caught:
            client().auth.get_user(refreshed.session.access_token)
        self.assertEqual(caught.exception.code, "session_not_found")

    def test_refusals_have_their_codes(self):
        with self.assertRaises(AuthApiError) as caught:
            client().auth.sign_in_with_password({"email": self.email, "password": "wrong"})
        self.assertEqual((caught.exception.status, caught.exception.code), (400, "invalid_credentials"))
        with self.assertRaises(AuthWeakPasswordError) as caught:
            client().auth.sign_up({"email": address(), "password": "1"})
        self.assertEqual(caught.exception.reasons, ["length"])

    def test_admin_lists_updates_and_deletes(self):
        admin = self.owner.auth.admin
        self.assertTrue(any(user.id == self.user.id for user in admin.list_users(page=1, per_page=1000)))
        changed = admin.update_user_by_id(self.user.id, {"app_metadata": {"plan": "pro"}})
        self.assertEqual(changed.user.app_metadata["plan"], "pro")
        link = admin.generate_link({"type": "magiclink", "email": self.email})
        self.assertIn(link.properties.hashed_token, link.properties.action_link)
        admin.delete_user(self.user.id)
        with self.assertRaises(AuthApiError) as caught:
            admin.get_user_by_id(self.user.id)
        self.assertEqual(caught.exception.code, "user_not_found")


class Storage(unittest.TestCase):
    def setUp(self):
        self.owner = client(SERVICE_KEY)
        self.name = f"py-{uuid.uuid4().hex[:12]}"
        self.owner.storage.create_bucket(self.name, options={"public": True})
        self.files = self.owner.storage.from_(self.name)

    def test_buckets(self):
        self.assertEqual(self.owner.storage.get_bucket(self.name).name, self.name)
        self.assertIn(self.name, [bucket.name for bucket in self.owner.storage.list_buckets()])
        self.owner.storage.empty_bucket(self.name)
        self.owner.storage.delete_bucket(self.name)
        with self.assertRaises(StorageApiError) as caught:
            self.owner.storage.get_bucket(self.name)
        self.assertEqual(str(caught.exception.status), "404")

    def test_objects(self):
        content = os.urandom(100_000)
        answer = self.files.upload("folder/a.bin", content, {"content-type": "image/png"})
        self.assertEqual(answer.full_path, f"{self.name}/folder/a.bin")
        self.assertEqual(self.files.download("folder/a.bin"), content)
        with self.assertRaises(StorageApiError) as caught:
            self.files.upload("folder/a.bin", content)
        self.assertEqual(str(caught.exception.status), "409")
        self.files.upload("folder/a.bin", b"new", {"upsert": "true"})
        self.assertEqual(self.files.download("folder/a.bin"), b"new")
        self.assertEqual([item["name"] for item in self.files.list("folder")], ["a.bin"])
        self.files.copy("folder/a.bin", "b.bin")
        self.files.move("b.bin", "c.bin")
        self.assertTrue(self.files.exists("c.bin"))
        self.assertEqual(len(self.files.remove(["c.bin"])), 1)
        with self.assertRaises(StorageApiError):
            self.files.download("c.bin")

    def test_urls(self):
        self.files.upload("a.txt", b"hello", {"content-type": "text/plain"})
        for link in (self.files.get_public_url("a.txt"), self.files.create_signed_url("a.txt", 60)["signedURL"]):
            with urllib.request.urlopen(link) as answer:
                self.assertEqual(answer.read(), b"hello")
        signed = self.files.create_signed_upload_url("in.txt")
        client().storage.from_(self.name).upload_to_signed_url("in.txt", signed["token"], b"in")
        self.assertEqual(self.files.download("in.txt"), b"in")


if __name__ == "__main__":
    unittest.main()
