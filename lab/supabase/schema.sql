-- The project's database. Roles and row-level security work as at Supabase: `anon` may query and sees no rows,
-- `service_role` bypasses row-level security.
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;

CREATE SCHEMA auth;
CREATE TABLE auth.users (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email         text NOT NULL UNIQUE,
    password_salt bytea NOT NULL,
    password_hash bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE public.gifts (
    id      integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name    text NOT NULL,
    child   text NOT NULL,
    wrapped boolean NOT NULL DEFAULT false
);
ALTER TABLE public.gifts ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON public.gifts TO anon, authenticated, service_role;

INSERT INTO public.gifts (name, child, wrapped) VALUES
    ('wooden train', 'Minjun', true),
    ('telescope', 'Seoyeon', true),
    ('paint box', 'Jiho', false),
    ('kite', 'Haeun', true),
    ('chess set', 'Doyun', false);
