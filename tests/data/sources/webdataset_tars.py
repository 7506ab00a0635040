"""Webdataset tars to read, written by the webdataset package itself."""


def write_tar(path, count=3, start=0, leave_out=(), **options):
    """Samples with a few bytes in place of images, written by the webdataset package itself."""
    import webdataset

    with webdataset.TarWriter(str(path), **options) as tar:
        for index in range(start, start + count):
            sample = {
                "jpg": f"image {index}".encode() * index,
                "txt": f"caption {index}",
                "json": {"width": 100 * index},
            }
            sample = {name: part for name, part in sample.items() if name not in leave_out}
            tar.write({"__key__": f"part/{index:03d}", **sample})
