-- Where a host is booked otherwise than the server is set, in thousandths; null: as the server is set.
ALTER TABLE hosts ADD COLUMN vcpu_overcommit_milli INTEGER
    CHECK (vcpu_overcommit_milli BETWEEN 100 AND 100000);
ALTER TABLE hosts ADD COLUMN memory_overcommit_milli INTEGER
    CHECK (memory_overcommit_milli BETWEEN 100 AND 100000);
