"""A bookshop on Django, the same for 3.2 and 5.2.

site.py migrate          makes the database
site.py PORT             serves

DATABASE is a file; CACHE_URL a Redis, or CACHE_SERVER a memcached; SESSIONS is "database", or "cache"
as many sites have it.
"""

import os
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings

in_cache = os.environ.get("SESSIONS") == "cache"
if "CACHE_SERVER" in os.environ:
    cache = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": os.environ["CACHE_SERVER"],
    }
else:
    cache = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("CACHE_URL", "redis://127.0.0.1:1"),
    }

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": cache},
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "OPTIONS": {"timeout": 30},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ],
    LOGGING_CONFIG=None,
    PASSWORD_HASHERS=[__name__ + ".Hasher"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="the same for both",
    SESSION_ENGINE="django.contrib.sessions.backends." + ("cache" if in_cache else "db"),
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {
                            "form.html": "<form method=post>{% csrf_token %}</form>",
                            "said.html": "{{ said|safe }}",
                        },
                    )
                ]
            },
        }
    ],
    TIME_ZONE="Europe/Brussels",
    USE_TZ=True,
)
django.setup()

# Models and views need the settings.
from django.contrib.auth import authenticate, login, logout  # noqa: E402
from django.contrib.auth.hashers import PBKDF2PasswordHasher  # noqa: E402
from django.contrib.auth.models import Group, User  # noqa: E402
from django.core.cache import cache as kept  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from django.views.decorators.cache import cache_page  # noqa: E402

MINUTES = 600
USERS = 16


class Hasher(PBKDF2PasswordHasher):
    """As Django's: the new version hashes passwords anew at login, with more rounds; here with few."""

    iterations = 1000 * django.VERSION[0]


def health(request):
    return HttpResponse("well")


@cache_page(MINUTES)
def front(request):
    """A whole page in the cache."""
    return HttpResponse("welcome")


def shelves(request):
    """A QuerySet in the cache, and what is asked of it afterwards."""
    shelves = kept.get_or_set("shelves", Group.objects.all(), MINUTES)
    names = shelves.filter(name__startswith="shelf").order_by("name").values_list("name", flat=True)
    return HttpResponse(", ".join(names))


def reader(request, number):
    """An object in the cache; it has a date with a time zone."""
    user = kept.get("reader-%s" % number)
    if user is None:
        user = User.objects.get(username="user-%s" % number)
        kept.set("reader-%s" % number, user, MINUTES)
    return HttpResponse("%s since %s" % (user.first_name, timezone.localtime(user.date_joined).year))


def rename(request, number):
    """Changes an object, and deletes it from the cache as Django's signals would."""
    if request.method == "POST":
        user = User.objects.get(username="user-%s" % number)
        user.first_name = request.POST["name"]
        user.save()
        kept.delete("reader-%s" % number)
        return HttpResponse("renamed")
    return render(request, "form.html")


def enter(request):
    if request.method == "POST":
        user = authenticate(request, username=request.POST["name"], password="secret")
        login(request, user)
        # The sessions of the database are JSON, which has no dates.
        now = timezone.localtime()
        request.session["since"] = now if in_cache else now.isoformat()
        return HttpResponse("hello")
    return render(request, "form.html")


def leave(request):
    logout(request)
    return HttpResponse("goodbye")


def me(request):
    name = request.user.username if request.user.is_authenticated else "nobody"
    return HttpResponse("%s %s" % (name, bool(request.session.get("since"))))


urlpatterns = [
    path("", front),
    path("health", health),
    path("login", enter),
    path("logout", leave),
    path("me", me),
    path("reader/<int:number>", reader),
    path("rename/<int:number>", rename),
    path("shelves", shelves),
]


def migrate():
    call_command("migrate", verbosity=0)
    for number in range(3):
        Group.objects.create(name="shelf %s" % number)
    for number in range(USERS):
        User.objects.create_user("user-%s" % number, password="secret", first_name="reader")


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Handler(WSGIRequestHandler):
    def address_string(self):
        return self.client_address[0]

    def log_message(self, *arguments):
        pass


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        migrate()
    else:
        server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
        server.set_app(get_wsgi_application())
        server.serve_forever()
