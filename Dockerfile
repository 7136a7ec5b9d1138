# make image
# docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/project" -w /project edgeprune build …
# docker run --rm -p 8000:8000 -v "$PWD/dist/NAME:/package:ro" edgeprune-serve
FROM python:3.11-slim-bookworm AS source
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY edgeprune edgeprune
COPY pipelines pipelines
COPY targets targets

FROM source AS whole
# Where pip looks beside its index. With CPU builds of torch there, the image is several GB smaller.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
RUN make install VENV=/opt/edgeprune

FROM source AS server
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
RUN make install-server VENV=/opt/edgeprune

FROM python:3.11-slim-bookworm AS user
RUN useradd --create-home --uid 10001 edgeprune
ENV PATH="/opt/edgeprune/bin:$PATH"
USER 10001
WORKDIR /home/edgeprune

FROM user AS serve
COPY --from=server /opt/edgeprune /opt/edgeprune
EXPOSE 8000
ENTRYPOINT ["edgeprune", "serve", "--host", "0.0.0.0"]
CMD ["/package"]

FROM user AS edgeprune
COPY --from=whole /opt/edgeprune /opt/edgeprune
ENTRYPOINT ["edgeprune"]
CMD ["--help"]
