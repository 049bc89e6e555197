-- How long the content of a VM's root image is, in MiB, rounded up (0: not known): a root disk is as
-- long at least, and counts so in the quota of its project.
ALTER TABLE vms ADD COLUMN root_image_mib INTEGER NOT NULL DEFAULT 0 CHECK (root_image_mib >= 0);

-- What has no name any more stays unknown.
UPDATE vms SET root_image_mib = coalesce(
    (SELECT (max(size_bytes) + 1048575) / 1048576 FROM images
     WHERE sha256 = vms.spec->>'$.root_image.sha256'),
    0
)
WHERE vms.spec->>'$.root_image.stored' = 1;
