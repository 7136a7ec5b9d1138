# docker build -t edgeprune .
# docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD:/project" -w /project edgeprune build …
FROM python:3.11-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt Makefile README.md LICENSE ./
COPY edgeprune edgeprune
COPY pipelines pipelines
COPY targets targets
RUN make install VENV=/opt/edgeprune

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 10001 edgeprune
COPY --from=build /opt/edgeprune /opt/edgeprune
ENV PATH="/opt/edgeprune/bin:$PATH"
USER 10001
WORKDIR /home/edgeprune
ENTRYPOINT ["edgeprune"]
CMD ["--help"]
