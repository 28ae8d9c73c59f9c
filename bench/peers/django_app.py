"""The shop on Django REST framework: psycopg's pool, prepared statements, model serialisers."""

import os
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import jwt
import tokens
from django.conf import settings

URL = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    SECRET_KEY=os.urandom(32).hex(),
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    APPEND_SLASH=False,
    MIDDLEWARE=[
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": URL.path[1:],
            "USER": URL.username,
            "PASSWORD": URL.password or "",
            "HOST": URL.hostname,
            "PORT": URL.port,
            "OPTIONS": {
                "pool": {"min_size": 7, "max_size": 7},
                "server_side_binding": True,
                "prepare_threshold": 5,
            },
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "UNAUTHENTICATED_USER": None,
    },
)

import django  # noqa: E402

django.setup()

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVectorField  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import models, transaction  # noqa: E402
from django.db.models import F  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import exceptions, generics, serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


class Table:
    app_label = "shop"
    managed = False


class User(models.Model):
    email = models.TextField()
    full_name = models.TextField()
    is_active = models.BooleanField()
    is_admin = models.BooleanField()
    email_verified = models.BooleanField()
    created_at = models.DateTimeField()

    class Meta(Table):
        db_table = "users"


class Item(models.Model):
    sku = models.TextField()
    name = models.TextField()
    description = models.TextField()
    category = models.TextField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    stock = models.IntegerField()
    is_active = models.BooleanField()
    version = models.IntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    search = SearchVectorField()

    class Meta(Table):
        db_table = "items"


class Order(models.Model):
    user_id = models.BigIntegerField()
    status = models.TextField(default="placed")
    total = models.DecimalField(max_digits=12, decimal_places=2)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(Table):
        db_table = "orders"


class OrderLine(models.Model):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product_id = models.BigIntegerField()
    name = models.TextField()
    quantity = models.IntegerField()
    unit_price = models.DecimalField(max_digits=12, decimal_places=2)

    class Meta(Table):
        db_table = "order_lines"


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ("id", "email", "full_name", "is_active", "is_admin", "email_verified", "created_at")


class ItemSerializer(serializers.ModelSerializer):
    class Meta:
        model = Item
        exclude = ("search",)


class LineSerializer(serializers.ModelSerializer):
    class Meta:
        model = OrderLine
        fields = ("product_id", "name", "quantity", "unit_price")
        read_only_fields = ("name", "unit_price")


class OrderSerializer(serializers.ModelSerializer):
    lines = LineSerializer(many=True, allow_empty=False)

    class Meta:
        model = Order
        fields = ("id", "user_id", "status", "total", "created_at", "lines")
        read_only_fields = ("user_id", "status", "total")


class Bearer(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        try:
            return SimpleNamespace(id=tokens.user_id(token), is_authenticated=True), None
        except jwt.InvalidTokenError:
            raise exceptions.AuthenticationFailed from None

    def authenticate_header(self, _: Request) -> str:
        return "Bearer"


class SignedIn:
    authentication_classes = (Bearer,)
    permission_classes = (IsAuthenticated,)


def limited(request: Request) -> int:
    return min(int(request.query_params.get("limit", 10)), 100)


class Items(generics.ListAPIView):
    serializer_class = ItemSerializer

    def get_queryset(self) -> models.QuerySet[Item]:
        found = Item.objects.defer("search")
        if words := self.request.query_params.get("search"):
            query = SearchQuery(words, config="english", search_type="websearch")
            found = found.filter(search=query).order_by(SearchRank(F("search"), query).desc(), "id")
        else:
            found = found.order_by("id")
        return found[: limited(self.request)]


class OneItem(generics.RetrieveAPIView):
    serializer_class = ItemSerializer
    queryset = Item.objects.defer("search")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().retrieve(request, *args, **kwargs)
        response["ETag"] = f'"{response.data["version"]}"'
        return response


class MembersItems(SignedIn, Items):
    pass


class MembersItem(SignedIn, OneItem):
    pass


class Profile(SignedIn, generics.RetrieveAPIView):
    serializer_class = UserSerializer

    def get_object(self) -> User:
        return User.objects.get(id=self.request.user.id)


class Orders(SignedIn, generics.ListCreateAPIView):
    serializer_class = OrderSerializer

    def get_queryset(self) -> models.QuerySet[Order]:
        own = Order.objects.filter(user_id=self.request.user.id).order_by("-id")
        return own.prefetch_related("lines")[: limited(self.request)]

    @transaction.atomic
    def perform_create(self, serializer: OrderSerializer) -> None:
        wanted = serializer.validated_data["lines"]
        ids = [line["product_id"] for line in wanted]
        locked = Item.objects.defer("search").filter(id__in=ids).order_by("id").select_for_update()
        items = {item.id: item for item in locked}
        total, lines = Decimal(0), []
        for line in wanted:
            item = items.get(line["product_id"])
            if item is None:
                raise exceptions.NotFound
            if item.stock < line["quantity"]:
                raise exceptions.APIException("Not enough stock", 409)
            item.stock -= line["quantity"]
            total += item.price * line["quantity"]
            lines.append(
                OrderLine(
                    product_id=item.id, name=item.name, quantity=line["quantity"], unit_price=item.price
                )
            )
        order = Order.objects.create(user_id=self.request.user.id, total=total)
        for line in lines:
            line.order = order
        order.placed = OrderLine.objects.bulk_create(lines)
        Item.objects.bulk_update(items.values(), ["stock"])
        order._prefetched_objects_cache = {"lines": order.placed}  # noqa: SLF001 - or they would be read again
        serializer.instance = order


urlpatterns = [
    path("items", Items.as_view()),
    path("items/<int:pk>", OneItem.as_view()),
    path("members/items", MembersItems.as_view()),
    path("members/items/<int:pk>", MembersItem.as_view()),
    path("profile", Profile.as_view()),
    path("orders", Orders.as_view()),
]
app = get_wsgi_application()
