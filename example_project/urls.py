"""Addresses of the example site."""

from django.urls import path

from example_project import api, views

urlpatterns = [
    path("", views.page, name="page"),
    path("api/run", api.run, name="api-run"),
    path("assets/<str:name>", views.asset, name="asset"),
]
