-- What the VMs of a project may come to. 0: nothing bounds that.
ALTER TABLE projects ADD COLUMN quota_vms INTEGER NOT NULL DEFAULT 0 CHECK (quota_vms >= 0);
ALTER TABLE projects ADD COLUMN quota_vcpus INTEGER NOT NULL DEFAULT 0 CHECK (quota_vcpus >= 0);
ALTER TABLE projects ADD COLUMN quota_memory_mib INTEGER NOT NULL DEFAULT 0
    CHECK (quota_memory_mib >= 0);
ALTER TABLE projects ADD COLUMN quota_disk_mib INTEGER NOT NULL DEFAULT 0
    CHECK (quota_disk_mib >= 0);
