# The challenge's container: docker run --network none -v CASE:/input:ro -v RESULT:/output IMAGE
# Build it with a trained segmenter beside this file:   docker build --build-arg SEGMENTER=seg -t IMAGE .
# It reads /input/{pre,orig}/{FLAIR,T1}.nii.gz and writes /output/result.nii.gz.
FROM python:3.12-slim

ARG SEGMENTER=seg
ENV PIP_NO_CACHE_DIR=1 OMP_NUM_THREADS=4
WORKDIR /opt/labelgan
COPY pyproject.toml constraints.txt README.md LICENSE ./
# The CPU build of torch; give another index for one with CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY src src
RUN pip install -c constraints.txt .
# Weights, settings and manifest are enough; checkpoints stay outside by .dockerignore.
COPY ${SEGMENTER} /opt/segmenter

ENTRYPOINT ["labelgan", "segment", "predict", "/opt/segmenter", "/input", "--out", "/output", "--challenge"]
