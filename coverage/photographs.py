"""photographs.py FROM TO: crops of the photographs that lie in a folder, 224 pixels a side, into TO/seen and TO/held. A photograph is in
one of the two only."""
import os
import random
import sys

from PIL import Image

source, target = sys.argv[1:3]
HELD = ("astronaut", "chelsea", "coffee", "china")
SEEN = ("camera", "coins", "flower", "hubble_deep_field", "ihc", "moon", "motorcycle_left", "motorcycle_right", "retina", "rocket")
CROPS = 16
found = {}
for folder, _, files in os.walk(source):
    for file in files:
        if os.path.splitext(file)[0] in HELD + SEEN:
            found[os.path.splitext(file)[0]] = os.path.join(folder, file)
random.seed(1)
for name in sorted(found):
    image = Image.open(found[name]).convert("RGB")
    part = "held" if name in HELD else "seen"
    os.makedirs(os.path.join(target, part), exist_ok=True)
    for i in range(CROPS):
        side = random.randint(min(image.size) // 2, min(image.size))
        x, y = random.randint(0, image.width - side), random.randint(0, image.height - side)
        crop = image.crop((x, y, x + side, y + side)).resize((224, 224), Image.BICUBIC)
        if random.random() < 0.5:
            crop = crop.transpose(Image.FLIP_LEFT_RIGHT)
        crop.save(os.path.join(target, part, f"{name}-{i:02}.png"))
    print(part, name, image.size)
